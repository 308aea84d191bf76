"""A policy that keeps every joint moving for ever, so that a fault always comes in the midst of a motion.

Each joint swings about its middle as a sine of time: how fast it can be is known, and what it does next as well.
"""

from __future__ import annotations

import math
import time

import numpy as np

from drivers.sim.arm import JOINTS
from edge_runtime.bundle_spec import CameraSpec, FlowSpec, Normalisation, PolicySpec, PromptSpec, VectorSpec
from edge_runtime.policies.base import Floats, Observation, Prompt

MIDDLE_RAD = np.array([0.0, -0.13, 1.895, 1.377, 0.0, 0.75])
SWING_RAD = np.array([0.6, 0.1, 0.15, 0.2, 0.6, 0.1])
PERIOD_S = 4.0
FASTEST_RAD_S = SWING_RAD * 2.0 * math.pi / PERIOD_S
THINK_S = 0.03
"""How long an inference takes, without the interpreter lock, as a graph does."""
PAUSE_S = 0.9
"""Nobody has asked for so long: another swing begins, from the middle."""
_TOKENS = 8


class Sway:
    """A policy (`edge_runtime.policies.base`) for the simulated arm: chunks of one second."""

    def __init__(self) -> None:
        vector = VectorSpec(JOINTS, ("rad",) * len(JOINTS), len(JOINTS))
        self.spec = PolicySpec(
            cameras=tuple(CameraSpec(name, 480, 640) for name in ("base", "wrist")),
            state=vector,
            action=vector,
            horizon=20,
            dt_s=0.05,
            control_mode="absolute",
            head=FlowSpec(steps=1, t_start=1.0, t_end=0.0, cache=()),
            prompt=PromptSpec("{instruction}", _TOKENS, None, 0),
            state_normalisation=Normalisation("none"),
            action_normalisation=Normalisation("none"),
        )
        self.frames = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in self.spec.cameras}
        self._began_s = self._asked_s = -math.inf
        self._times_s = self.spec.dt_s * np.arange(self.spec.horizon)[:, None]

    def prompt(self, instruction: str) -> Prompt:
        return Prompt(instruction, np.zeros(_TOKENS, np.int64), np.ones(_TOKENS, np.bool_))

    def infer(self, observation: Observation, chunk_out: Floats) -> None:  # noqa: ARG002  (it looks at nothing)
        now_s = time.monotonic()
        if now_s - self._asked_s > PAUSE_S:
            self._began_s = now_s
        self._asked_s = now_s
        time.sleep(THINK_S)
        phase = 2.0 * math.pi / PERIOD_S * (now_s - self._began_s + self._times_s)
        chunk_out[:] = MIDDLE_RAD + SWING_RAD * np.sin(phase)
