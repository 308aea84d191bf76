"""The last step before the bus: whatever a motion asks for, what goes out keeps to the limits and can be stopped.

Each joint has a `Guard`, whose invariant is that from every setpoint a jerk-bounded stop inside the range exists. Here
they are one arm: where one joint's reference is not finite, all of them come to rest. A `Fence`, where the robot has a
workspace, holds the tip inside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_runtime.fence import REASONS as OUTSIDE
from edge_runtime.fence import Fence, Workspace
from edge_runtime.guard import FREE, NOT_FINITE, REASONS, Guard
from edge_runtime.limits import Floats, Limits
from edge_runtime.reference import Reference


class Limiter:
    """The guards of n joints. Allocates nothing lasting."""

    def __init__(self, limits: Limits, period_s: float, workspace: Workspace | None = None) -> None:
        n = len(limits.names)
        self._names = limits.names
        self._guards = [
            Guard(float(lower), float(upper), float(v), float(a), float(j), period_s)
            for lower, upper, v, a, j in zip(
                limits.lower, limits.upper, limits.velocity, limits.acceleration, limits.jerk, strict=True
            )
        ]
        self._fence = None if workspace is None else Fence(workspace, self._guards)
        self.position_rad: Floats = np.zeros(n)
        """The setpoint emitted last."""
        self.counts: NDArray[np.int64] = np.zeros((len(REASONS), n), dtype=np.int64)
        """[reason, joint]: how often a reference could not be emitted as it was, and why."""

    @property
    def at_rest(self) -> bool:
        """Whether every joint is: nothing of a motion is left."""
        return all(guard.v == 0.0 and guard.a == 0.0 for guard in self._guards)

    def emitted(self, out: Floats) -> None:
        """Write position, velocity and acceleration of the last setpoint into `out` [3, n]."""
        for index, guard in enumerate(self._guards):
            out[0, index], out[1, index], out[2, index] = guard.p, guard.v, guard.a

    def start_from(self, position_rad: Floats) -> None:
        """The joints are at rest at `position_rad`, whatever was emitted before."""
        self.position_rad[:] = position_rad
        for guard, p in zip(self._guards, position_rad.tolist(), strict=True):
            guard.rest(p)

    def limit(self, wanted: Reference, out: Floats) -> str:
        """Write the next setpoint into `out` [n]; returns the names of the joints whose reference is not finite."""
        self._keep()
        rows = wanted.rows.tolist()
        refused = "" if wanted.rest else self._not_finite(rows)
        if wanted.rest or refused:
            for guard in self._guards:
                guard.stop()
        else:
            self._follow(rows)
        out[:] = [guard.p for guard in self._guards]
        self.position_rad[:] = out
        return refused

    def yield_to(self, joint: int, position_rad: float) -> None:
        """One joint is at rest at `position_rad`, where it was held back, and pushes on no more."""
        self.position_rad[joint] = position_rad
        self._guards[joint].rest(position_rad)

    def stand(self, joint: int) -> None:
        """One joint is at rest where the last setpoint has led it: it has been told nothing for too long."""
        self._guards[joint].rest(self._guards[joint].p)

    def take_back(self, part: slice) -> None:
        """The last setpoint of these joints was not emitted after all: they go on from the one before it."""
        for joint in range(part.start, part.stop):
            self._guards[joint].go_back()
            self.position_rad[joint] = self._guards[joint].p
        if self._fence is not None:
            self._fence.go_back()

    def _keep(self) -> None:
        """Remember what was emitted last, for `take_back` and for the fence."""
        for guard in self._guards:
            guard.keep()
        if self._fence is not None:
            self._fence.keep()

    def counted(self) -> dict[str, int]:
        """What was limited and how often, by reason and joint: {"velocity elbow_flex": 3}."""
        counted = self._named(REASONS, self.counts)
        return counted if self._fence is None else counted | self._named(OUTSIDE, self._fence.counts)

    def _named(self, reasons: Sequence[str], counts: NDArray[np.int64]) -> dict[str, int]:
        return {f"{reasons[r]} {self._names[j]}": int(counts[r, j]) for r, j in np.argwhere(counts)}

    def _not_finite(self, rows: Sequence[Sequence[float]]) -> str:
        bad = [index for index, row in enumerate(zip(*rows, strict=True)) if not all(map(math.isfinite, row))]
        for index in bad:
            self.counts[NOT_FINITE, index] += 1
        return ", ".join(self._names[index] for index in bad)

    def _follow(self, rows: Sequence[Sequence[float]]) -> None:
        if self._fence is not None:
            self._fence.begin()
        for index, (guard, p, v, a) in enumerate(zip(self._guards, *rows, strict=True)):
            reason = guard.follow(p, v, a)
            if reason != FREE:
                self.counts[reason, index] += 1
        if self._fence is not None:
            self._fence.hold()
