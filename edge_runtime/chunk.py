"""A chunk: the actions one inference planned, and the time of the frame it planned them from."""

from __future__ import annotations

import numpy as np

from edge_runtime.limits import Floats


class Chunk:
    """Actions [horizon, n], rad; action k is due at capture_ns + k·dt_ns. Allocated once, carried through a `Slot`."""

    __slots__ = ("actions", "capture_ns", "dt_ns", "ready_ns", "request", "rows", "sequence")

    def __init__(self, horizon: int, n: int, dt_ns: int) -> None:
        self.actions: Floats = np.zeros((horizon, n))
        self.rows: tuple[Floats, ...] = tuple(self.actions)
        """The rows of `actions`, so that sampling makes no views."""
        self.dt_ns = dt_ns
        self.capture_ns = 0
        """Capture time of the oldest frame of the observation."""
        self.ready_ns = 0
        """When the inference ended."""
        self.sequence = 0
        """Counts chunks from 1."""
        self.request = 0
        """Number of the request that it answers."""
