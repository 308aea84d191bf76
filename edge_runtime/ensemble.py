"""Temporal ensembling: a chunk becomes the mean of what it and those before it say of the same moments.

As in ACT (https://arxiv.org/abs/2304.13705, section IV-B): the i-th prediction of a moment, the oldest being i = 0, has
weight exp(-m·i). Chunks come when they come, so those before are read at the new one's times from their curve.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_runtime.chunk import NO_REQUEST, Chunk
from edge_runtime.config import Robot
from edge_runtime.curve import Curve
from edge_runtime.limits import stepwise_joints
from edge_runtime.reference import Reference

M = 0.01
"""The paper's: all predictions of a moment count nearly the same."""


class Ensemble:
    """The mean of a request's chunks. Belongs to the inference thread."""

    def __init__(self, rows: int, n: int, dt_ns: int, stepwise: NDArray[np.bool_] | None = None) -> None:
        """`stepwise` [n]: joints that are open or closed and nothing between: of them the newest chunk decides."""
        self._smooth = True if stepwise is None else ~stepwise
        self._mean = Chunk(rows, n, dt_ns, NO_REQUEST)
        self._counts = [0] * rows
        """How many chunks each row of the mean is made of."""
        self._curve = Curve(n)
        self._then = Reference(n)

    @classmethod
    def of(cls, robot: Robot, rows: int, dt_ns: int) -> Ensemble:
        """Of chunks of `rows` rows for this robot."""
        return cls(rows, len(robot.joints), dt_ns, stepwise_joints(robot))

    def add(self, chunk: Chunk) -> None:
        """Put the mean in the place of the rows of `chunk`."""
        mean = self._mean
        counts = [0] * len(chunk.rows)
        for k, row in enumerate(chunk.rows):
            t_ns = chunk.start_ns + k * chunk.dt_ns
            known = mean.request == chunk.request and t_ns >= mean.start_ns
            if known and self._curve.sample(mean, t_ns, self._then):
                count = self._counts[mean.due(t_ns)]
                share = _weight(count) / sum(_weight(i) for i in range(count + 1))
                np.add(row, (1.0 - share) * (self._then.position_rad - row), out=row, where=self._smooth)
                counts[k] = count
            counts[k] += 1
        mean.keep(chunk.actions, chunk)
        self._counts = counts
        self._curve.forget()


def _weight(i: int) -> float:
    return math.exp(-M * i)
