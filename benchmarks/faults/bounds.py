"""What may be held against a fault, from outside: the simulator's trace of packets and joints against robot.toml.

How far a joint may go after a fault is the way until the stop begins, the stop, and what its servo lags behind:

- V·t, with V the highest speed of its goal in the two seconds before the fault (`Trace.speed`), and t the time that the
  deadlines give: until it is noticed, one deadline more, and, for what leads to COAST, `coast_ms`.
- `edge_runtime.brake.longest_stop(V, A, J)`: the longest jerk-bounded stop from any state of at most this speed.
- `lag`: a shaft follows a goal that moves with V at a distance of V·D/G (damping and gain of the servo's controller,
  `drivers/sim/servos.py`), and stops short by up to friction/G on either side, the play of the gears, one step of the
  encoder on either side, and what gravity bends it by: that of an arm stretched out over G.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.sim.servos import BACKLASH_RAD, DAMPING_NM_S, FRICTION_NM, GAIN_NM_RAD, STEP_RAD, gravity_nm
from edge_runtime.brake import longest_stop
from edge_runtime.config import Joint, Robot
from edge_runtime.pacer import APART

Floats = NDArray[np.float64]
WINDOW_S = 0.05
"""Over which speeds are taken: encoder steps of 1.5 mrad make those of one period meaningless."""
REST_RAD = 0.004
"""A joint that goes no farther than this from where it ends, is there: play and two encoder steps."""


@dataclass(frozen=True)
class Trace:
    """Rows of `drivers.sim.trace` about one fault."""

    rows: Any

    @property
    def told(self) -> Any:
        """Rows in which goals have arrived."""
        return self.rows[self.rows["told"]]

    def between(self, begin_ns: int, end_ns: int) -> Trace:
        t_ns = self.rows["t_ns"]
        return Trace(self.rows[(t_ns >= begin_ns) & (t_ns <= end_ns)])

    def where(self, t_ns: int) -> Floats:
        """The links [6] at that time, between two rows."""
        at = self.rows["t_ns"].astype(float)
        return np.array([np.interp(float(t_ns), at, joint) for joint in self.rows["link_rad"].T])

    def speed(self) -> Floats:
        """Highest speed [6] of the goals, rad/s."""
        told = self.told
        apart = np.searchsorted(told["t_ns"], told["t_ns"] + int(WINDOW_S * 1e9))
        ends = np.flatnonzero(apart < len(told))
        way = np.abs(told["goal_rad"][apart[ends]] - told["goal_rad"][ends])
        seconds = (told["t_ns"][apart[ends]] - told["t_ns"][ends]) / 1e9
        return np.asarray((way / seconds[:, None]).max(axis=0))

    def moved(self, from_ns: int) -> Floats:
        """How far [6] the links were from where they were then, at most."""
        later = self.rows[self.rows["t_ns"] >= from_ns]["link_rad"]
        return np.asarray(np.abs(later - self.where(from_ns)).max(axis=0))

    def rest_ns(self) -> int:
        """When the last joint came to where it ends."""
        away = (np.abs(self.rows["link_rad"] - self.rows["link_rad"][-1]) > REST_RAD).any(axis=1)
        return int(self.rows["t_ns"][np.flatnonzero(away)[-1]] if away.any() else self.rows["t_ns"][0])

    def last_new_goal_ns(self) -> int:
        """When goals came last that were other ones than before; 0 where none did."""
        told = self.told
        new = np.flatnonzero((np.diff(told["goal_rad"], axis=0) != 0.0).any(axis=1))
        return int(told["t_ns"][new[-1] + 1]) if len(new) else 0

    def closest_ns(self) -> int:
        """Shortest time between two setpoints, at the most: the first may have come earlier than it was heard."""
        told = self.told
        apart = np.diff(told["t_ns"]) + told["away_ns"][:-1]
        return int(apart.min()) if len(apart) else np.iinfo(np.int64).max

    def longest_step(self) -> Floats:
        """Longest way [6] from one setpoint to the next of a joint that had torque at both."""
        told = self.told
        if len(told) < 2:
            return np.zeros(told["goal_rad"].shape[1])
        held = told["torque_on"][1:] & told["torque_on"][:-1]
        return np.asarray((np.abs(np.diff(told["goal_rad"], axis=0)) * held).max(axis=0))


def lag(speed: Floats) -> Floats:
    """How far [6] a shaft may go on after its goal has stopped, rad: see above."""
    still = 2.0 * FRICTION_NM / GAIN_NM_RAD + 2.0 * BACKLASH_RAD + 2.0 * STEP_RAD
    bent = np.zeros(len(still))
    bent[1:4] = np.array(gravity_nm(np.pi / 2, 0.0, 0.0, 0.0)) / GAIN_NM_RAD[1:4]
    return np.asarray(speed * DAMPING_NM_S / GAIN_NM_RAD + still + bent)


def stop_rad(joints: tuple[Joint, ...], speed: Floats) -> Floats:
    """The longest stop [6] from any state of at most `speed` [6]."""
    return np.array(
        [
            longest_stop(float(v), j.acceleration_rad_s2, j.jerk_rad_s3)[0] if v > 0.0 else 0.0
            for v, j in zip(speed, joints, strict=True)
        ]
    )


def stop_s(robot: Robot) -> float:
    """The longest stop of any joint in time."""
    return max(longest_stop(j.velocity_rad_s, j.acceleration_rad_s2, j.jerk_rad_s3)[1] for j in robot.joints)


def may_move(robot: Robot, speed: Floats, seconds: float) -> Floats:
    """How far [6] the joints may go from the fault on, where the stop must have begun after `seconds`."""
    return speed * seconds + stop_rad(robot.joints, speed) + lag(speed)


def burst(robot: Robot, trace: Trace, *, safe_at_speed: bool) -> Iterator[str]:
    """What in this stretch came too close to another, or was too long a step."""
    back = lag(trace.speed()) if safe_at_speed else np.zeros(len(robot.joints))
    period_ns = 1e9 / robot.control.rate_hz
    if trace.closest_ns() < APART * period_ns:
        yield f"two setpoints {trace.closest_ns() / 1e6:.2f} ms apart, the period is {period_ns / 1e6:g} ms"
    for joint, step, most in zip(robot.joints, trace.longest_step(), back, strict=True):
        if step > max(joint.velocity_rad_s * period_ns / 1e9, most) + STEP_RAD:
            yield f"{joint.name}: a step of {step:.4f} rad in one period, velocity {joint.velocity_rad_s:g} rad/s"
