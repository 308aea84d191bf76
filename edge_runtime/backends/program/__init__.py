"""An inference as a list of steps over memory that never moves: what a backend runs in one piece."""
