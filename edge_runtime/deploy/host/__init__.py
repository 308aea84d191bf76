"""What the host system is told about the robot: units, devices, limits, isolation."""
