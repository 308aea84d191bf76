"""Emergency-stop inputs: the contract in `base.py`, one file per kind of input."""
