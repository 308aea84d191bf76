"""What the arm does already while the policy thinks, in the policy's own numbers and at the new chunk's times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundle_spec import PolicySpec
from edge_runtime.chunk import NO_REQUEST, Chunk
from edge_runtime.config import Robot
from edge_runtime.curve import Curve
from edge_runtime.fit import units_rad
from edge_runtime.limits import Floats as Doubles
from edge_runtime.limits import stepwise_joints
from edge_runtime.policies.base import Ahead, Floats
from edge_runtime.reference import Reference

SHAPING = 1
"""Actions behind the last one that is sent on which the curve up to there depends: see `Curve`."""


class Running:
    """The chunk that was published last. Belongs to the inference thread."""

    def __init__(
        self, spec: PolicySpec, lowest: Doubles, highest: Doubles, stepwise: NDArray[np.bool_] | None = None
    ) -> None:
        """`lowest` and `highest` [dims]: the ends of the joints' ranges in the policy's units. Nothing else is sent.

        `stepwise` [dims]: the joints that go from action to action in steps.
        """
        dims = spec.action.dims
        self._lowest, self._highest = lowest, highest
        self._stepwise = stepwise
        self._chunk = Chunk(spec.horizon, dims, round(spec.dt_s * 1e9), NO_REQUEST)
        self._curve = Curve(dims)
        self._then = Reference(dims)
        self._ahead = Ahead(np.zeros((spec.horizon, dims), np.float32))

    @classmethod
    def of(cls, robot: Robot, spec: PolicySpec) -> Running:
        """Of a policy whose actions are the positions of this robot's joints."""
        lowest, highest = np.array([joint.position_rad for joint in robot.joints]).T / units_rad(robot, spec.action)
        return cls(spec, lowest, highest, stepwise_joints(robot))

    def keep(self, actions: Floats, published: Chunk) -> None:
        """`actions` [horizon, dims] became the chunk that has been `published`."""
        self._chunk.keep(actions, published)
        self._curve.forget()

    def ahead(self, request: int, observed_ns: int, taken_ns: int) -> Ahead | None:
        """Of a chunk for an observation of `observed_ns` that will be followed from `taken_ns` on.

        None where no chunk of this request is running. Valid until the next call.
        """
        chunk, ahead = self._chunk, self._ahead
        if chunk.request != request:
            return None
        known = 0
        for row in ahead.actions:
            t_ns = observed_ns + known * chunk.dt_ns
            if not self._curve.sample(chunk, t_ns, self._then):
                break
            if self._stepwise is not None:
                np.copyto(self._then.position_rad, chunk.rows[chunk.due(t_ns)], where=self._stepwise)
            np.clip(self._then.position_rad, self._lowest, self._highest, out=row, casting="same_kind")
            known += 1
        ahead.known = known
        ahead.committed = min(known, SHAPING + max(0, -((observed_ns - taken_ns) // chunk.dt_ns)))
        return ahead if known else None

    def example(self) -> Ahead:
        """Something to warm up with."""
        ahead = self._ahead
        ahead.actions.fill(0.0)
        ahead.known, ahead.committed = len(ahead.actions), 1
        return ahead
