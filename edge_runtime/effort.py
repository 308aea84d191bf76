"""Stall, following error and overload: whether each joint does what it is told, and what that costs it.

It only judges, like the watchdog: figures go in, a cause comes out. It reads no clock, so the same figures always get
the same verdict.

A joint's following error is how far it stands outside of all that it was told within the last delay of the motors: one
that follows as late as that, or sooner, has none, however fast it moves. Where the error is beyond the joint's limit
for `stall_ms` the joint has stalled, or moves and does not follow. A joint that grips has no limit: what it closes on
holds it back, and its torque limit holds the motor back.

Plain numbers: for as many joints as an arm has, numpy takes longer to begin than this takes, and several times longer
after the sleep that every tick begins with.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_runtime.config import Joint, Robot
from edge_runtime.events import Report
from edge_runtime.limits import Floats

DELAY_NS = 80_000_000
"""By how much motors follow their setpoints later, where `edge calibrate latency` has not measured it: the simulated
servos do by 47 ms, and a USB frame, a return delay and a period of control come to it."""
STILL_RAD = 0.02
"""A joint that has moved no farther than this, 1.1°, while it was behind its setpoint has stalled."""
STALLED, BEHIND, OVERLOADED = range(3)
CAUSES = ("stalled", "does not follow", "overloaded")


class Effort:
    """Judges the n joints of one robot, one tick after another. Allocates nothing lasting."""

    def __init__(self, robot: Robot, period_ns: int, delay_ns: int, report: Report) -> None:
        joints, n = robot.joints, len(robot.joints)
        self.counts: NDArray[np.int64] = np.zeros((len(CAUSES), n), dtype=np.int64)
        """[cause, joint]: how often it came to that."""
        self.pushing: list[int] = []
        """The joints that are to push on no more: those of this tick's causes, and all others beyond their limits then,
        for what holds one joint back holds back the arm."""
        self._names = robot.joint_names
        self._joints = joints
        self._report = report
        self._stall_ns = int(robot.deadlines.stall_ms * 1e6)
        self._overload_ns = int(robot.deadlines.overload_ms * 1e6)
        self._limit_rad = [following_rad(joint) for joint in joints]
        self._told = [[0.0] * n for _ in range(1 + max(math.ceil(delay_ns / period_ns), 0))]
        """The setpoints of the last delay, newest anywhere."""
        self._row = 0
        self._behind: dict[int, tuple[int, float]] = {}
        """Joints beyond their limit: since when, and where they stood."""
        self._drawing = [index for index, joint in enumerate(joints) if joint.current_a]
        self._drawn_ns = [0] * n
        """When each joint's current was last looked at."""
        self._over_ns = [0] * n
        """Since when each reading of its current was above the limit; 0 where the last one was not."""

    def rest(self, position_rad: Floats) -> None:
        """Nothing is commanded: the joints are where they are."""
        self._told = [position_rad.tolist()] * len(self._told)
        self._behind.clear()
        self.pushing.clear()
        for index in self._drawing:
            self._over_ns[index] = 0

    def judge(
        self,
        now_ns: int,
        setpoint_rad: Floats,
        measured_rad: Floats,
        heard: NDArray[np.bool_],
        current_a: Floats,
        current_ns: NDArray[np.int64],
    ) -> str:
        """Why motion must stop, empty where it need not.

        `setpoint_rad` [n] was commanded in this tick; `measured_rad` is from this tick where `heard` says so, and
        `current_a` from `current_ns`, 0 for a current that was never told.
        """
        self.pushing.clear()
        setpoints, positions = setpoint_rad.tolist(), measured_rad.tolist()
        self._told[self._row] = setpoints
        self._row = (self._row + 1) % len(self._told)
        cause = ""
        if self._behind or self._any_far(setpoints, positions):
            cause = self._follow(now_ns, positions, heard.tolist())
        for index in self._drawing:
            if current_ns[index] != self._drawn_ns[index]:
                self._drawn_ns[index] = int(current_ns[index])
                found = self._draw(index, float(current_a[index]), self._drawn_ns[index])
                cause = cause or found
        return cause

    def counted(self) -> dict[str, int]:
        """What happened and how often, by cause and joint: {"stalled elbow_flex": 1}."""
        return {f"{CAUSES[c]} {self._names[j]}": int(self.counts[c, j]) for c, j in np.argwhere(self.counts)}

    def _any_far(self, setpoints_rad: list[float], positions_rad: list[float]) -> bool:
        """Whether a joint is beyond its limit from the newest setpoint: none has an error where none is."""
        for setpoint, position, limit in zip(setpoints_rad, positions_rad, self._limit_rad, strict=True):
            if abs(setpoint - position) > limit:
                return True
        return False

    def _follow(self, now_ns: int, positions_rad: list[float], heard: list[bool]) -> str:
        """Look at each joint that has told where it is. One that has not is as far behind as it was."""
        cause = ""
        rows = (zip(*self._told, strict=True), self._limit_rad, positions_rad, heard)
        for index, (setpoints, limit, at, answered) in enumerate(zip(*rows, strict=True)):
            if not answered:
                continue
            error = max(min(setpoints) - at, at - max(setpoints))
            if error <= limit:
                self._behind.pop(index, None)
                continue
            since_ns, stood = self._behind.setdefault(index, (now_ns, at))
            if now_ns - since_ns >= self._stall_ns:
                del self._behind[index]
                which = STALLED if abs(at - stood) <= STILL_RAD else BEHIND
                found = self._happened(which, index, self._so_far(index, error, limit, now_ns - since_ns))
                cause = cause or found
        if cause:
            self.pushing.extend(self._behind)
            self._behind.clear()
        return cause

    def _draw(self, index: int, current_a: float, told_ns: int) -> str:
        """Look at a new reading of one joint's current."""
        limit = self._joints[index].current_a
        if current_a <= limit:
            self._over_ns[index] = 0
            return ""
        self._over_ns[index] = self._over_ns[index] or told_ns
        over_ns = told_ns - self._over_ns[index]
        if over_ns < self._overload_ns:
            return ""
        self._over_ns[index] = 0
        return self._happened(OVERLOADED, index, f"{current_a:.2f} A for {over_ns / 1e6:.0f} ms, limit {limit:g} A")

    def _so_far(self, index: int, error_rad: float, limit_rad: float, behind_ns: int) -> str:
        joint = self._joints[index]
        error, limit = (f"{rad / joint.scale_rad:.3g} {joint.units}" for rad in (error_rad, limit_rad))
        return f"{error} behind its setpoint for {behind_ns / 1e6:.0f} ms, limit {limit}"

    def _happened(self, which: int, index: int, how: str) -> str:
        cause = f"joint {self._names[index]}: {CAUSES[which]}: {how}"
        self.counts[which, index] += 1
        self.pushing.append(index)
        self._report(CAUSES[which], cause)
        return cause


def following_rad(joint: Joint) -> float:
    """The joint's largest following error, rad; infinite for one that grips."""
    return math.inf if joint.grip else joint.following_rad
