"""Policies that write a whole chunk at once (OpenVLA-OFT): image → model → actions."""

from __future__ import annotations

import numpy as np

from edge_runtime.backends.base import Backend
from edge_runtime.backends.program.steps import Copy
from edge_runtime.bundle import Bundle
from edge_runtime.policies.base import Observation
from edge_runtime.policies.graph_policy import GraphPolicy


class Runner(GraphPolicy):
    """One regression policy; the model graph's output `actions` is [1, horizon, dims], normalised."""

    first = "model"

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        super().__init__(bundle, backend)
        self._check({})
        actions = self.output("model", "actions", np.float32, (1, *self.normalised.shape))
        self._actions = backend.shared(actions.shape, np.float32)
        self._program = backend.program([*self._seen(), Copy(actions, self._actions)])

    def _think(self, observation: Observation) -> None:
        self._see(observation)
        self._run(self._program)
        np.copyto(self.normalised, self._actions.host[0])
