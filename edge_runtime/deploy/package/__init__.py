"""The package that a robot is installed from: wheels unpacked into an environment, robot.toml, one .deb."""
