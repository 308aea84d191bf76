"""Euler's method: from noise to actions, on the buffers of one graph. Allocates nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_runtime.backends.base import Graph
from edge_runtime.policies.base import Floats
from edge_runtime.policies.graph_policy import Inputs


def inputs(chunk: tuple[int, ...], width: int) -> Inputs:
    """What a graph of one step takes of its own, for a `chunk` [1, horizon, padded]."""
    return {"x_t": (chunk, np.float32), "cond": ((1, width), np.float32)}


class Euler:
    """`run` runs `graph`, which computes `velocity` [1, horizon, padded] from `x_t` and `cond` [1, W].

    `table` [steps, W] is what the graph must know of each step's flow time, `span` the flow time of all steps together.
    In float32.
    """

    def __init__(self, run: Callable[[], None], graph: Graph, table: Floats, span: float) -> None:
        self.x: Floats = graph.inputs["x_t"]
        self._cond: Floats = graph.inputs["cond"]
        self._velocity: Floats = graph.outputs["velocity"]
        self._run, self._table = run, table
        self._dt = np.float32(span / len(table))
        self._change = np.empty_like(self.x)

    def integrate(self) -> None:
        """From the noise in `x` to actions there."""
        for step, row in enumerate(self._table):
            np.copyto(self._cond[0], row)
            self._advance(step)

    def _advance(self, step: int) -> None:  # noqa: ARG002
        self._run()
        self._add(self._velocity, self._dt)

    def _add(self, change: Floats, times: np.float32) -> None:
        np.multiply(change, times, out=self._change)
        np.add(self.x, self._change, out=self.x)
