"""The files of a LeRobotDataset, v2.1 and v3.0, read without LeRobot: description, episodes, parquet tables, videos."""
