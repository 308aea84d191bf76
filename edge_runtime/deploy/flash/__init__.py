"""A package in NVIDIA's root file system, and the commands that flash it."""
