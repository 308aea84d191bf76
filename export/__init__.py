"""Checkpoint to verified policy bundle. The only package that imports torch; a robot never needs it."""
