"""Bundles on a robot: a store with one that runs and one to go back to, and how another is handed over."""
