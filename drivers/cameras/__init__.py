"""Cameras, one kind a file. `base.py` is the contract."""
