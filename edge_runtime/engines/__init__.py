"""Engines: what TensorRT makes of a bundle's graphs on the machine that will run them, and where they are kept."""
