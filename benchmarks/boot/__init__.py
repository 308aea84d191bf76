"""Robots that boot: the package on real systems, in a container, on an emulated ARM board, with two system slots."""
