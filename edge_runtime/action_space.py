"""What a policy's numbers mean for the joints: the state it is told, and the chunk that its actions become."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from edge_runtime import plugins
from edge_runtime.bundle_spec import PolicySpec
from edge_runtime.chunk import Chunk
from edge_runtime.config import Robot
from edge_runtime.fit import units_rad
from edge_runtime.limits import Floats
from edge_runtime.policies.base import Floats as Numbers


class ActionSpace(Protocol):
    """Between the joints, rad, and the policy's units. Belongs to the inference thread."""

    rows: int
    """Rows of a chunk."""

    def observe(self, measured_rad: Floats, state: Numbers) -> None:
        """Write the policy's state [dims] of joints that are at `measured_rad` [n]."""

    def plan(self, actions: Numbers, measured_rad: Floats, chunk: Chunk) -> None:
        """Fill rows and start of `chunk`, whose times and request are set, from `actions` [horizon, dims].

        `measured_rad` [n] is where the joints are now. Raises `UnreachablePose`, with `chunk` unfit for use.
        """

    def told(self, setpoint_rad: Floats, actions: Numbers) -> bool:
        """Write a commanded setpoint [n] into each row of `actions` [horizon, dims]; False where it is no action."""

    def counts(self) -> dict[str, int]:
        """What was out of the ordinary and how often, by name."""


class JointSpace:
    """State and actions are joint positions in units of `state_rad` and `action_rad` [n]; actions say where to be."""

    def __init__(self, horizon: int, state_rad: Floats, action_rad: Floats) -> None:
        self.rows = horizon
        self._per_rad = 1.0 / state_rad
        self._rad = action_rad

    def observe(self, measured_rad: Floats, state: Numbers) -> None:
        if len(state):  # a policy may read no state
            np.multiply(measured_rad, self._per_rad, out=state, casting="same_kind")

    def plan(self, actions: Numbers, measured_rad: Floats, chunk: Chunk) -> None:  # noqa: ARG002
        np.multiply(actions, self._rad, out=chunk.actions)
        chunk.start_ns, chunk.rests = chunk.observed_ns, False

    def told(self, setpoint_rad: Floats, actions: Numbers) -> bool:
        np.divide(setpoint_rad, self._rad, out=actions, casting="same_kind")
        return True

    def counts(self) -> dict[str, int]:
        return {}


def action_space(robot: Robot, spec: PolicySpec) -> ActionSpace:
    """The space that `spec` acts in, on a robot that it fits. Raises `EdgeError` where its kinematics cannot serve."""
    if spec.pose is None:
        return JointSpace(spec.horizon, units_rad(robot, spec.state), units_rad(robot, spec.action))
    made: ActionSpace = plugins.require("edge_runtime.pose_space").PoseSpace(robot, spec, spec.pose)
    return made
