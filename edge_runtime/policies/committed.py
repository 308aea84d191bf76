"""Committed flow: actions that are sent before a chunk is there are given to the model clean, and it goes on from them.

Black, Ren, Equi, Levine 2025, "Training-Time Action Conditioning for Efficient Real-Time Chunking"
(https://arxiv.org/abs/2512.05964): for checkpoints that were trained so, and at no cost.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_runtime.backends.base import Graph
from edge_runtime.policies.base import Ahead, Floats
from edge_runtime.policies.euler import Euler
from edge_runtime.policies.graph_policy import Inputs


def inputs(chunk: tuple[int, ...], width: int) -> Inputs:
    """What a step graph takes for it beside `euler.inputs`."""
    return {"committed": (chunk[:2], np.bool_), "clean": ((1, width), np.float32)}


class Committed(Euler):
    """Euler's method on a step graph that takes rows as they are: those in `committed` get no velocity."""

    def __init__(self, run: Callable[[], None], graph: Graph, table: Floats, span: float, dims: int, most: int) -> None:
        """The checkpoint was trained with `most` such rows; `dims` of the padded dimensions are the robot's."""
        super().__init__(run, graph, table, span)
        self._committed: NDArray[np.bool_] = graph.inputs["committed"][0]
        self._most = most
        self.target: Floats = np.zeros((len(self._committed), dims), np.float32)
        """What the rows are, normalised [horizon, dims]."""
        self.rows = 0
        """How many of them are given."""
        self.beyond = 0
        """How often more were committed than the checkpoint was trained with; behind those it was free."""

    def aim(self, ahead: Ahead) -> None:
        """Say how many rows of `target` are given."""
        self.rows = min(ahead.committed, self._most)
        self.beyond += ahead.committed > self._most

    def integrate(self) -> None:
        """As `Euler.integrate`; in given rows, what the robot lacks is 0, as in training."""
        rows, dims = self.rows, self.target.shape[1]
        self.x[0, :rows] = 0.0
        np.copyto(self.x[0, :rows, :dims], self.target[:rows])
        self._committed[:rows] = True
        try:
            super().integrate()
        finally:
            self._committed.fill(False)
