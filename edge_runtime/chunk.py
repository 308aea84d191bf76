"""A chunk: the actions one inference planned, and the time of the frame it planned them from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.limits import Floats

NO_REQUEST = -1
"""Of a chunk that is kept: there is none yet."""


class Chunk:
    """Positions [rows, n], rad; row k is due at start_ns + k·dt_ns. Allocated once, carried through a `Slot`."""

    __slots__ = (
        "actions",
        "capture_ns",
        "dt_ns",
        "observed_ns",
        "ready_ns",
        "request",
        "rests",
        "rows",
        "sequence",
        "start_ns",
    )

    def __init__(self, rows: int, n: int, dt_ns: int, request: int = 0) -> None:
        self.actions: Floats = np.zeros((rows, n))
        self.rows: tuple[Floats, ...] = tuple(self.actions)
        """The rows of `actions`, so that sampling makes no views."""
        self.dt_ns = dt_ns
        self.capture_ns = 0
        """Capture time of the oldest frame that the policy has seen for it: how old it is."""
        self.observed_ns = 0
        """Time of the observation that it answers: later than that frame's where the policy saw only the state anew."""
        self.ready_ns = 0
        """When the inference ended."""
        self.start_ns = 0
        """When the first row is due: the observation where actions say where to be, later where they say how far."""
        self.rests = False
        """The arm is meant to rest in the last row: the chunk has not run out before it is too old."""
        self.sequence = 0
        """Counts chunks from 1."""
        self.request = request
        """Number of the request that it answers."""

    def keep(self, actions: NDArray[np.floating], published: Chunk) -> None:
        """Remember `actions` [rows, n] as those of `published`, whose buffer will be written anew."""
        self.actions[:] = actions
        self.start_ns, self.request = published.start_ns, published.request

    def due(self, t_ns: int) -> int:
        """The row that was due last at `t_ns`; the first before there was one, the last behind it."""
        return min(max((t_ns - self.start_ns) // self.dt_ns, 0), len(self.rows) - 1)
