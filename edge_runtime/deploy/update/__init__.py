"""The system in two slots, updated by RAUC: the key, the bundle, the robot's side, and the way back.

An update is written to the slot that does not run, started once on trial, and kept when the robot has proved itself
with it. Everything here leans on RAUC (https://rauc.readthedocs.io): what is ours is what it asks its user to bring.
"""
