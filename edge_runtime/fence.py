"""The tip's workspace: a box that no stop of the arm takes it out of, in the manner of `guard`.

The invariant, at every tick and whatever the reference: from the emitted setpoint the whole arm's quickest stop keeps
the tip inside the box. A reference that would break it is not followed: the joints that carry the tip out stop, and
where that is not enough, all of them do. The stop from the setpoint before was proved before.

Joints stop at different times and the tip's way is curved, so the stop is looked at in pieces of equal time, whose
ends must be inside. In a piece of h seconds the tip leaves the chord by h²/8 of its acceleration at most (the error of
linear interpolation). With joint speeds u and accelerations w that is Σ r[j]·(u[j]·(u[j] + 2·Σ u[i<j]) + w[j]) at most:
r[j] is how far from the axis of joint j the tip can be, and |∂²x/∂q[i]∂q[j]| ≤ r[j] for i ≤ j. Pieces are so short that
this is `TOLERANCE_M`. Of k pieces together it is k² times as much: where their ends are inside by more than that, there
is no need to look between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_runtime.arm_joints import arm_joints
from edge_runtime.brake import Brake, longest_stop
from edge_runtime.config import Joint, Robot
from edge_runtime.errors import ConfigError
from edge_runtime.guard import Guard
from edge_runtime.tip import Tip
from edge_runtime.urdf import Vector

TOLERANCE_M = 1e-3
"""How far outside the tip may be in the middle of a stop. It never comes to rest there."""
SLACK_M = 1e-6
"""What rounding may add: the end of a stop is planned anew at every tick of it."""
MOST_PIECES = 200
"""In which one stop is looked at: some 1 ms of a tick where all of them have to be. Arms of 1 m need about 60."""

SIDES = tuple(f"tip {side} {axis}" for axis in "xyz" for side in ("below", "above"))
INSIDE = -1
REASONS = tuple(f"workspace: {side}" for side in SIDES)
"""Why a joint was stopped: where the reference would have led the tip."""


class Workspace(NamedTuple):
    """The box `low` to `high` (m, in the frame of the URDF's root) for the tip that the robot's `joints` move."""

    tip: Tip
    joints: tuple[int, ...]
    low: Vector
    high: Vector

    @classmethod
    def of(cls, robot: Robot) -> Workspace | None:
        """That of robot.toml, None where it has none.

        Raises `ConfigError` where it does not fit the URDF, where the arm hangs on more than one bus, and where a stop
        would have to be looked at in more than `MOST_PIECES`.
        """
        if robot.workspace is None:
            return None
        joints, index = arm_joints(robot)
        _refuse_two_buses(robot, index)
        tip = Tip(joints)
        _refuse_slow(tip, [robot.joints[i] for i in index])
        return cls(tip, index, robot.workspace.low, robot.workspace.high)

    def leaves(self, q_rad: Sequence[float]) -> int:
        """The side on which the tip is outside with the robot's joints at `q_rad` [n]; `INSIDE` where it is not."""
        return side(self.tip.at([q_rad[i] for i in self.joints]), self.low, self.high)


def side(tip: Vector, low: Sequence[float], high: Sequence[float]) -> int:
    """Index in `SIDES` of the first side on which `tip` is outside; `INSIDE` where it is not."""
    for axis in range(3):
        if tip[axis] < low[axis] - SLACK_M:
            return 2 * axis
        if tip[axis] > high[axis] + SLACK_M:
            return 2 * axis + 1
    return INSIDE


def _refuse_two_buses(robot: Robot, index: Sequence[int]) -> None:
    """Where one bus loses a setpoint and another does not, the arm is in no state whose stop was proved."""
    owners = [bus.name for bus in robot.buses for _ in bus.joints]
    found = sorted({owners[i] for i in index})
    if len(found) > 1:
        raise ConfigError(
            f"the joints that move {robot.kinematics.tip} are on buses {' and '.join(found)}, and where one "
            "loses a setpoint their stop may leave the box: put them on one bus, or leave [workspace] out"
        )


def _refuse_slow(tip: Tip, joints: Sequence[Joint]) -> None:
    """What it takes at most is known in advance: at most, each joint moves at its limits during the longest stop."""
    stops = [longest_stop(j.velocity_rad_s, j.acceleration_rad_s2, j.jerk_rad_s3)[1] for j in joints]
    found = pieces(max(stops), tip.arms_m, [(j.velocity_rad_s, j.acceleration_rad_s2) for j in joints])
    if found > MOST_PIECES:
        name = joints[stops.index(max(stops))].name
        raise ConfigError(
            f"a stop of {name} takes {max(stops):.3g} s, and other joints move so quickly meanwhile that it would be "
            f"looked at in {found} pieces a tick, limit {MOST_PIECES}: raise its limits, or lower those of the others"
        )


class Fence:
    """Owned by the control thread, like the guards of the whole robot, which it is given."""

    def __init__(self, workspace: Workspace, guards: Sequence[Guard]) -> None:
        self._guards = [guards[i] for i in workspace.joints]
        self._brakes = [Brake(guard.acceleration, guard.jerk) for guard in self._guards]
        self._tip, self._index = workspace.tip, workspace.joints
        self._low, self._high = workspace.low, workspace.high
        self._lowest, self._highest = list(workspace.low), list(workspace.high)
        self._kept: tuple[list[float], list[float]]
        self._q = [guard.p for guard in self._guards]
        self._pieces: int
        self._piece_s: float
        self.counts: NDArray[np.int64] = np.zeros((len(SIDES), len(guards)), dtype=np.int64)
        """[side, joint]: how often a joint was stopped because it would have carried the tip out there."""

    def keep(self) -> None:
        """Remember the box for `go_back`, as the guards have just remembered their states."""
        self._kept = self._lowest[:], self._highest[:]

    def go_back(self) -> None:
        """What was emitted since `keep` was not, after all."""
        self._lowest, self._highest = self._kept

    def begin(self) -> None:
        """Before the guards follow a reference. An arm at rest outside the box may stay there, or come in."""
        if all(guard.v == 0.0 and guard.a == 0.0 for guard in self._guards):
            self._reach_out(self._tip.at([guard.p for guard in self._guards]))

    def hold(self) -> None:
        """After the guards have followed: those that carry the tip out stop instead, or all."""
        leaves = self._leaves()
        if leaves == INSIDE:
            return
        carriers = [k for k in range(len(self._q)) if self._carries(k, leaves)]
        self._stop(carriers, leaves)
        leaves = self._leaves()
        if leaves != INSIDE:
            self._stop([k for k in range(len(self._q)) if k not in carriers], leaves)

    def _reach_out(self, tip: Vector) -> None:
        """The box reaches to where the tip is at rest."""
        for axis, x in enumerate(tip):
            if x < self._lowest[axis] - SLACK_M:
                self._lowest[axis] = x
            elif x > self._highest[axis] + SLACK_M:
                self._highest[axis] = x

    def _come_in(self, tip: Vector) -> None:
        """A box that was stretched shrinks with the tip."""
        for axis, x in enumerate(tip):
            self._lowest[axis] = min(self._low[axis], max(self._lowest[axis], x))
            self._highest[axis] = max(self._high[axis], min(self._highest[axis], x))

    def _stop(self, joints: Sequence[int], leaves: int) -> None:
        for k in joints:
            guard = self._guards[k]
            guard.go_back()
            guard.stop()
            self.counts[leaves, self._index[k]] += 1

    def _carries(self, k: int, leaves: int) -> bool:
        """Whether the tip, where it left, would be farther in had joint `k` stayed where it was."""
        axis, above = divmod(leaves, 2)
        out, moved = self._tip.at(self._q)[axis], self._q[k]
        self._q[k] = self._guards[k].kept
        stayed = self._tip.at(self._q)[axis]
        self._q[k] = moved
        return stayed < out - SLACK_M if above else stayed > out + SLACK_M

    def _leaves(self) -> int:
        """The side on which the stop from the present setpoint leaves the box; where on none, that setpoint stands."""
        self._plan()
        begin = self._after(0)
        leaves = side(begin, self._lowest, self._highest)
        if leaves == INSIDE:
            end = self._after(self._pieces)
            leaves = side(end, self._lowest, self._highest)
        if leaves == INSIDE:
            leaves = self._between(0, begin, self._pieces, end)
        if leaves == INSIDE:
            self._come_in(begin)
        return leaves

    def _between(self, first: int, begin: Vector, last: int, end: Vector) -> int:
        """The side on which the pieces `first` to `last` of the stop leave the box, whose ends are inside."""
        if self._clear(begin, end, TOLERANCE_M * ((last - first) ** 2 - 1)):
            return INSIDE
        middle = (first + last) // 2
        tip = self._after(middle)
        leaves = side(tip, self._lowest, self._highest)
        if leaves == INSIDE:
            leaves = self._between(first, begin, middle, tip)
        return leaves if leaves != INSIDE else self._between(middle, tip, last, end)

    def _clear(self, begin: Vector, end: Vector, bow_m: float) -> bool:
        """Whether a way that bends by `bow_m` from one to the other is inside."""
        for a, b, low, high in zip(begin, end, self._lowest, self._highest, strict=True):
            if min(a, b) - bow_m < low - SLACK_M or max(a, b) + bow_m > high + SLACK_M:
                return False
        return True

    def _after(self, pieces: int) -> Vector:
        """Where the tip is so many pieces into the stop."""
        t = pieces * self._piece_s
        for k, brake in enumerate(self._brakes):
            self._q[k] = brake.at(t)[0]
        return self._tip.at(self._q)

    def _plan(self) -> None:
        """The stop of every joint, and the pieces in which it is looked at."""
        for guard, brake in zip(self._guards, self._brakes, strict=True):
            brake.plan(guard.p, guard.v, guard.a)
        last_s = max(brake.duration_s for brake in self._brakes)
        self._pieces = pieces(last_s, self._tip.arms_m, map(fastest, self._guards))
        self._piece_s = last_s / self._pieces


def pieces(duration_s: float, arms_m: Iterable[float], moving: Iterable[tuple[float, float]]) -> int:
    """In how many pieces a stop must be looked at, `moving` being bounds of each joint's speed and acceleration."""
    bend = before = 0.0
    for arm_m, (speed, pull) in zip(arms_m, moving, strict=True):
        bend += arm_m * (speed * (speed + 2.0 * before) + pull)
        before += speed
    return max(1, math.ceil(duration_s * math.sqrt(bend / (8.0 * TOLERANCE_M))))


def fastest(guard: Guard) -> tuple[float, float]:
    """Bounds of a joint's speed (rad/s) and acceleration (rad/s²) during its quickest stop (`brake`).

    It is fastest now, or once the acceleration is taken away; it brakes with √(J·|v| + a²/2) at most, or A.
    """
    v, a, jerk = guard.v, guard.a, guard.jerk
    speed = max(abs(v), abs(v + a * abs(a) / (2.0 * jerk)))
    return speed, max(abs(a), min(guard.acceleration, math.sqrt(jerk * abs(v) + 0.5 * a * a)))
