"""Flow matching policies (pi0, pi0.5, SmolVLA): image → prefix → N Euler steps → actions, over graphs bound to buffers.

The step graph reads the prefix graph's keys and values where they were written. Nothing is allocated by an inference.
"""

from __future__ import annotations

import numpy as np

from edge_runtime.backends.base import Backend
from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import FlowSpec
from edge_runtime.errors import BundleError
from edge_runtime.policies.base import Floats, Observation
from edge_runtime.policies.graph_policy import GraphPolicy, constants


class Runner(GraphPolicy):
    """One flow policy. `steps` Euler steps an inference, 0 for as many as the bundle was exported with.

    Noise is drawn from a generator seeded with `seed`, or given to `infer`. The integration is in float32.
    """

    first = "prefix"

    def __init__(self, bundle: Bundle, backend: Backend, steps: int = 0, seed: int = 0) -> None:
        super().__init__(bundle, backend)
        head = bundle.spec.head
        assert isinstance(head, FlowSpec)
        prefix = self.graphs["prefix"]
        step = self._load("step", {name: (prefix, name) for name in head.cache})
        self._cond = _cond(bundle, steps or head.steps, head.steps)
        self._check(
            {
                "x_t": ((1, bundle.spec.horizon, bundle.spec.action.padded), np.float32),
                "cond": ((1, self._cond.shape[1]), np.float32),
            }
        )
        self._x: Floats = step.inputs["x_t"]
        self._velocity = self.output("step", "velocity", np.float32, self._x.shape)
        self._change = np.empty_like(self._x)
        self._dt = np.float32((head.t_end - head.t_start) / len(self._cond))
        self._generator = np.random.default_rng(seed)
        self._given: Floats | None = None

    def infer(self, observation: Observation, chunk_out: Floats, noise: Floats | None = None) -> None:
        """As `Policy.infer`; `noise` [horizon, action.padded] replaces the generator's."""
        self._given = noise
        super().infer(observation, chunk_out)

    def _decide(self) -> None:
        if self._given is None:
            self._generator.standard_normal(dtype=np.float32, out=self._x)
        else:
            np.copyto(self._x[0], self._given)
        step = self.graphs["step"]
        cond = step.inputs["cond"]
        for row in self._cond:
            np.copyto(cond[0], row)
            self._run("step")
            np.multiply(self._velocity, self._dt, out=self._change)
            np.add(self._x, self._change, out=self._x)
        np.copyto(self.normalised, self._x[0, :, : self._spec.action.dims])


def _cond(bundle: Bundle, steps: int, most: int) -> Floats:
    """What the step graph must know of time at each of `steps` steps, float32 [steps, W]."""
    path = bundle.path / bundle.manifest.constants
    table = constants(bundle).get(f"cond.{steps}")
    if table is None:
        raise BundleError(f"{path}: has nothing for {steps} flow steps; this bundle takes 1 to {most}")
    if table.dtype != np.float32 or table.ndim != 2 or len(table) != steps:
        raise BundleError(
            f"{path}: cond.{steps} is {table.dtype} {list(table.shape)}, expected float32 [{steps}, width]"
        )
    return np.asarray(table, np.float32)
