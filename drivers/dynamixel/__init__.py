"""Dynamixel X servos: packets of protocol 2.0, registers, fast sync read."""
