"""Euler's method: from noise to actions, as steps over the buffers of one graph."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edge_runtime.backends.base import Backend, Graph
from edge_runtime.backends.program.steps import Add, Copy, Run, Step
from edge_runtime.policies.base import Floats
from edge_runtime.policies.graph_policy import Inputs

INNER = ("x_t", "cond")
"""Inputs of a graph of one step that only the steps here write."""


def inputs(chunk: tuple[int, ...], width: int) -> Inputs:
    """What a graph of one step takes of its own, for a `chunk` [1, horizon, padded]."""
    return {"x_t": (chunk, np.float32), "cond": ((1, width), np.float32)}


class Euler:
    """`graph`, called `name`, computes `velocity` [1, horizon, padded] from `x_t` and `cond` [1, W].

    `table` [steps, W] is what the graph must know of each step's flow time, `span` the flow time of all steps together.
    In float32.
    """

    def __init__(self, name: str, graph: Graph, backend: Backend, table: Floats, span: float) -> None:
        self._name, self._graph, self._backend = name, graph, backend
        self._x, self._cond, self._velocity = (graph.tensor(n) for n in ("x_t", "cond", "velocity"))
        self._given = backend.shared(self._x.shape, np.float32)
        self._table = backend.constant(table)
        self._dt = np.float32(span / len(table))

    @property
    def x(self) -> Floats:
        """Noise [1, horizon, padded] before `steps`, actions after them."""
        return self._given.host

    def begin(self) -> None:
        """Called when the noise is in `x`, before the steps are done."""

    def steps(self) -> Iterator[Step]:
        """From the noise in `x` to actions there."""
        yield Copy(self._given, self._x)
        for step in range(self._table.shape[0]):
            yield Copy(self._table[step], self._cond)
            yield from self._advance(step)
        yield Copy(self._x, self._given)

    def _advance(self, step: int) -> Iterator[Step]:  # noqa: ARG002
        yield Run(self._name, self._graph)
        yield Add(self._x, self._velocity, self._dt)
