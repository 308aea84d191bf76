"""Committed flow: actions that are sent before a chunk is there are given to the model clean, and it goes on from them.

Black, Ren, Equi, Levine 2025, "Training-Time Action Conditioning for Efficient Real-Time Chunking"
(https://arxiv.org/abs/2512.05964): for checkpoints that were trained so, and at no cost.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edge_runtime.backends.base import Backend, Graph
from edge_runtime.backends.program.steps import Copy, Step
from edge_runtime.policies.base import Ahead, Floats
from edge_runtime.policies.euler import Euler
from edge_runtime.policies.graph_policy import Inputs

INNER = ("committed",)
"""As `euler.INNER`, beside it."""


def inputs(chunk: tuple[int, ...], width: int) -> Inputs:
    """What a step graph takes for it beside `euler.inputs`."""
    return {"committed": (chunk[:2], np.bool_), "clean": ((1, width), np.float32)}


def nothing(graph: Graph, backend: Backend) -> Step:
    """Before the steps of a chunk that begins afresh: no row is given."""
    committed = graph.tensor("committed")
    return Copy(backend.constant(np.zeros(committed.shape, np.bool_)), committed)


class Committed(Euler):
    """Euler's method on a step graph that takes rows as they are: those in `committed` get no velocity."""

    def __init__(
        self, name: str, graph: Graph, backend: Backend, table: Floats, span: float, dims: int, most: int
    ) -> None:
        """The checkpoint was trained with `most` such rows; `dims` of the padded dimensions are the robot's."""
        super().__init__(name, graph, backend, table, span)
        self._committed = graph.tensor("committed")
        self._told = backend.shared(self._committed.shape, np.bool_)
        self._most = most
        self.target: Floats = np.zeros((self.x.shape[1], dims), np.float32)
        """What the rows are, normalised [horizon, dims]."""
        self.rows = 0
        """How many of them are given."""
        self.beyond = 0
        """How often more were committed than the checkpoint was trained with; behind those it was free."""

    def aim(self, ahead: Ahead) -> None:
        """Say how many rows of `target` are given."""
        self.rows = min(ahead.committed, self._most)
        self.beyond += ahead.committed > self._most

    def begin(self) -> None:
        """Let `x` have the given rows; in them, what the robot lacks is 0, as in training."""
        rows, dims = self.rows, self.target.shape[1]
        self.x[0, :rows] = 0.0
        np.copyto(self.x[0, :rows, :dims], self.target[:rows])
        self._told.host[0, :rows] = True
        self._told.host[0, rows:] = False

    def steps(self) -> Iterator[Step]:
        yield Copy(self._told, self._committed)
        yield from super().steps()
