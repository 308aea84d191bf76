"""What a person drives the arm with: the contract in `base.py`, one file per kind of device."""
