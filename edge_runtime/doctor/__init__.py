"""`edge doctor`: is this machine, with this robot on it, fit to run? One file for each group of checks."""
