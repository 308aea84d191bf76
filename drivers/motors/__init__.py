"""Motor buses, one protocol a file. `base.py` is the contract."""
