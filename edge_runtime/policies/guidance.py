"""Guided flow: a chunk is pulled to go on from the running one while it is made, whatever the model was trained for.

Black, Galliker, Levine 2025, "Real-Time Execution of Action Chunking Flow Policies" (https://arxiv.org/abs/2506.07339),
equations 2 to 5. Their time τ is 0 at noise and 1 at actions; ours is t = t_start + τ·(t_end - t_start).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge_runtime.backends.base import Backend, Graph
from edge_runtime.backends.program.steps import Add, Copy, Step
from edge_runtime.policies import euler
from edge_runtime.policies.base import Ahead, Floats
from edge_runtime.policies.euler import Euler
from edge_runtime.policies.graph_policy import Inputs

MOST = 5.0
"""The paper's β. Without it the first step, where the strength is infinite, would be all that counts."""


def strengths(steps: int) -> NDArray[np.float64]:
    """How strongly each of `steps` Euler steps is pulled: min(β, (1 - τ) / (τ·r²)), r² = (1 - τ)² / (τ² + (1 - τ)²).

    That comes to (τ² + (1 - τ)²) / (τ·(1 - τ)), and at τ = 0, with which the first step begins, to β.
    """
    tau = np.arange(1, steps) / steps
    strength: NDArray[np.float64] = np.full(steps, MOST)
    np.minimum((tau**2 + (1 - tau) ** 2) / (tau * (1 - tau)), MOST, out=strength[1:])
    return strength


def soft_mask(committed: int, known: int, out: Floats) -> None:
    """How much each row of a chunk counts, into `out` [horizon]: 1 for the `committed` rows, which cannot be changed
    any more, then c·(eᶜ - 1) / (e - 1) with c falling evenly to 0 at row `known`, and 0 from there on."""
    for row in range(len(out)):
        c = min(1.0, max(0.0, (known - row) / (known - committed + 1)))
        out[row] = c * math.expm1(c) / (math.e - 1.0)


INNER = (*euler.INNER, "left")
"""As `euler.INNER`."""


def inputs(chunk: tuple[int, ...]) -> Inputs:
    """What a guide graph takes beside `euler.inputs`."""
    return {"target": (chunk, np.float32), "weight": (chunk, np.float32), "left": ((1,), np.float32)}


class Guided(Euler):
    """Euler's method on a guide graph, which tells `correction` beside `velocity`.

    A step of 1/steps in τ goes along dx/dτ + strength·correction, and velocity is dx/dt = (dx/dτ) / span.
    """

    def __init__(self, name: str, graph: Graph, backend: Backend, table: Floats, span: float, dims: int) -> None:
        """`dims` of the padded dimensions are the robot's; the others are left alone."""
        super().__init__(name, graph, backend, table, span)
        steps = len(table)
        self.target: Floats = graph.inputs["target"][0, :, :dims]
        """Where the rows are to be, normalised [horizon, dims]."""
        self._weight: Floats = graph.inputs["weight"][0, :, :dims]
        self._left, self._correction = graph.tensor("left"), graph.tensor("correction")
        self._mask: Floats = np.zeros(len(self.target), np.float32)
        self._lefts = backend.constant((span * (1.0 - np.arange(steps) / steps)).astype(np.float32))
        self._pulls = (strengths(steps) / steps).astype(np.float32)

    def aim(self, ahead: Ahead) -> None:
        """Say how much each row of `target` counts, and forget those that mean nothing."""
        soft_mask(ahead.committed, ahead.known, self._mask)
        np.copyto(self._weight, self._mask[:, None])
        self.target[ahead.known :] = 0.0

    def _advance(self, step: int) -> Iterator[Step]:
        yield Copy(self._lefts[step : step + 1], self._left)
        yield from super()._advance(step)
        yield Add(self._x, self._correction, self._pulls[step])
