"""The process on the robot: frames and an instruction in, motor commands out, on time."""
