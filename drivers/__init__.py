"""Cameras, motor buses and the simulated robot. Imports nothing else of this project."""
