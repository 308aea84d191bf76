"""One joint swings to and fro within its limits while everything about it is written down; the others stay.

The way is A/2 · w(t) · (1 - cos φ(t)), always to one side of where the joint was. φ' grows from `SLOW_HZ` to
`FAST_HZ`, so that no delay looks like another; w, the quintic of `trajectory.Move`, begins and ends it smoothly. Every
setpoint passes the limiter. Where it has to end early the arm brakes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.errors import DriverError
from edge_runtime.buses import Buses
from edge_runtime.clock import Clock
from edge_runtime.errors import EdgeError
from edge_runtime.fence import Workspace
from edge_runtime.limits import Floats, Limits
from edge_runtime.reference import Reference
from edge_runtime.safety import Limiter

SECONDS = 8.0
"""About seven swings. Delays are found in four parts of it too, to tell how far they agree: 60 frames each at 30 Hz."""
SLOW_HZ, FAST_HZ = 0.5, 1.2
"""Slow enough that each of the four parts, 2 s, holds a whole swing; no faster, because of the way that an acceleration
limit leaves, A/ω². They differ so that a delay of a whole swing fits nowhere."""
RAMP_S = 1.0
"""Of growing and of fading: so long that velocity, acceleration and jerk stay below those of the sine at `FAST_HZ`."""
LONGEST_WAY_RAD = 0.5
"""29°: plenty for any camera, and little enough for a person to keep clear of."""
SHORTEST_WAY_RAD = 0.05
"""A shorter way drowns in what gears and cameras add."""
RANGE_SHARE = 0.9
"""Of the way to the farther limit: a joint that sags a little before its torque is on still has room."""
LIMIT_SHARE = 0.5
"""Of each limit, that a swing may use: the arm is to follow it easily."""
STRAY_RAD = 0.3
"""A joint that is further than this from its setpoint meets something: in the fastest swing, 1.8 rad/s, one that is
merely late would have to follow 170 ms late."""

Check = Callable[[int], None]
"""Given the time, CLOCK_MONOTONIC ns; raises what is to end the swing."""


@dataclass(frozen=True)
class Swung:
    """What the joint was told and did, [ticks] each; times are midway between question and answer, CLOCK_MONOTONIC."""

    t_ns: NDArray[np.int64]
    commanded_rad: Floats
    measured_rad: Floats


@dataclass(frozen=True)
class Way:
    """A swing by `way_rad`, negative downwards."""

    way_rad: float

    def at(self, t_s: float) -> float:
        """Where the joint is to be, rad from where it was."""
        t = min(max(t_s, 0.0), SECONDS)
        phase = 2 * math.pi * (SLOW_HZ * t + (FAST_HZ - SLOW_HZ) * t * t / (2 * SECONDS))
        ramp = min(t, SECONDS - t, RAMP_S) / RAMP_S
        grown = ramp**3 * (10.0 + ramp * (6.0 * ramp - 15.0))
        return self.way_rad / 2 * grown * (1.0 - math.cos(phase))

    def motion(self, t_s: float) -> tuple[float, float, float]:
        """Position, velocity and acceleration: differences over a tenth of a millisecond to either side."""
        h = 1e-4
        before, at, after = self.at(t_s - h), self.at(t_s), self.at(t_s + h)
        return at, (after - before) / (2 * h), (after - 2 * at + before) / (h * h)


def plan(limits: Limits, index: int, rest_rad: Floats) -> Way:
    """The longest useful swing of one joint of an arm at rest at `rest_rad` [n].

    Raises `EdgeError` where there is no room for any, and where a joint is outside its limits: with torque it would
    move there first.
    """
    _refuse_outside(limits, rest_rad)
    below, above = rest_rad[index] - limits.lower[index], limits.upper[index] - rest_rad[index]
    omega = 2 * math.pi * FAST_HZ
    way = min(
        LONGEST_WAY_RAD,
        RANGE_SHARE * max(below, above),
        2 * LIMIT_SHARE * limits.velocity[index] / omega,
        2 * LIMIT_SHARE * limits.acceleration[index] / omega**2,
        2 * LIMIT_SHARE * limits.jerk[index] / omega**3,
    )
    if way < SHORTEST_WAY_RAD:
        raise EdgeError(
            f"joint {limits.names[index]} could swing by {math.degrees(max(way, 0.0)):.1f}° only: "
            f"move it to the middle of its range, or take another joint"
        )
    return Way(float(way if above >= below else -way))


def swing(
    buses: Buses,
    limits: Limits,
    index: int,
    way: Way,
    period_ns: int,
    clock: Clock,
    check: Check = lambda _: None,
    workspace: Workspace | None = None,
) -> Swung:
    """Switch torque on, swing joint `index` of `buses`, and end with the motors' safe action, whatever happens.

    `limits` and `workspace` are those of these buses' joints. What `check` raises, before torque and at each tick, is
    raised here once the arm has come to rest. Raises `EdgeError` where `way` does not fit where the arm is now, and
    `DriverError`, also for a joint that meets something: without a stop, because the arm does not do as it is told.
    """
    buses.read(clock.now_ns())
    _answered(buses)
    _refuse_stray(limits, index, way, buses.measured_rad)
    check(clock.now_ns())
    try:
        buses.enable_torque()
        return _Run(buses, limits, index, way, period_ns, clock, workspace).run(check)
    finally:
        if failures := buses.safe_action():
            raise DriverError(f"{failures[0]}: torque may still be on: run edge safe-stop, or switch the supply off")


class _Run:
    """The arm under torque, from where it is."""

    def __init__(
        self,
        buses: Buses,
        limits: Limits,
        index: int,
        way: Way,
        period_ns: int,
        clock: Clock,
        workspace: Workspace | None,
    ) -> None:
        self._buses, self._clock, self._period_ns = buses, clock, period_ns
        self._name, self._index, self._way = limits.names[index], index, way
        self._rest_rad = buses.measured_rad.copy()
        self._limiter = Limiter(limits, period_ns / 1e9, workspace)
        self._limiter.start_from(self._rest_rad)
        self._wanted = Reference(len(limits.names))
        self._due_ns = clock.now_ns()
        self._asked_ns = 0

    def run(self, check: Check) -> Swung:
        ticks = round(SECONDS * 1e9 / self._period_ns)
        t_ns, commanded, measured = np.zeros(ticks, np.int64), np.zeros(ticks), np.zeros(ticks)
        for tick in range(ticks):
            t_s = tick * self._period_ns * 1e-9
            self._tick(t_s)
            t_ns[tick] = (self._asked_ns + self._buses.lines[0].bus.state.stamp_ns) // 2
            commanded[tick] = self._buses.setpoint_rad[self._index]
            measured[tick] = self._buses.measured_rad[self._index]
            _refuse_far(self._name, commanded[tick], measured[tick])
            try:
                check(self._clock.now_ns())
            except BaseException:
                self._stop()
                raise
        return Swung(t_ns, commanded, measured)

    def _stop(self) -> None:
        self._wanted.rest = True
        while not self._limiter.at_rest:
            self._send()

    def _tick(self, t_s: float) -> None:
        """Send where the joint is to be after `t_s` of the swing, when that is due, and read where it is."""
        self._wanted.hold(self._rest_rad)
        p, v, a = self._way.motion(t_s)
        self._wanted.position_rad[self._index] += p
        self._wanted.velocity_rad_s[self._index] = v
        self._wanted.acceleration_rad_s2[self._index] = a
        self._send()

    def _send(self) -> None:
        self._wait()
        self._limiter.limit(self._wanted, self._buses.setpoint_rad)
        self._buses.write(self._clock.now_ns())
        self._asked_ns = self._clock.now_ns()
        self._buses.read(self._asked_ns)
        _answered(self._buses)

    def _wait(self) -> None:
        """Slots that were missed are not made up for: motors never see a burst."""
        self._clock.sleep_until(self._due_ns)
        self._due_ns += self._period_ns
        if self._clock.now_ns() > self._due_ns:
            self._due_ns = self._clock.now_ns() + self._period_ns


def _answered(buses: Buses) -> None:
    for line in buses.lines:
        if line.misses:
            raise DriverError(line.trouble)


def _refuse_outside(limits: Limits, rest_rad: Floats) -> None:
    for name, at, low, high in zip(limits.names, rest_rad, limits.lower, limits.upper, strict=True):
        if not low <= at <= high:
            where = (
                f"at {math.degrees(at):.1f}°, outside its limits {math.degrees(low):.1f}° to {math.degrees(high):.1f}°"
            )
            raise EdgeError(f"joint {name} is {where}: move it inside by hand")


def _refuse_stray(limits: Limits, index: int, way: Way, rest_rad: Floats) -> None:
    """Whether an arm that somebody may have moved since `way` was planned still has room for it."""
    _refuse_outside(limits, rest_rad)
    if not limits.lower[index] <= rest_rad[index] + way.way_rad <= limits.upper[index]:
        raise EdgeError(f"joint {limits.names[index]} was moved and has no room to swing any more: start again")


def _refuse_far(name: str, commanded_rad: float, measured_rad: float) -> None:
    if abs(commanded_rad - measured_rad) > STRAY_RAD:
        away = math.degrees(abs(commanded_rad - measured_rad))
        raise DriverError(f"joint {name} is {away:.0f}° from its setpoint: something is in its way, or it is too weak")
