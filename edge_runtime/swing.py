"""One joint swings to and fro within its limits while everything about it is written down; the others stay.

The way is A/2 · w(t) · (1 - cos φ(t)), always to one side of where the joint was. φ' grows from `SLOW_HZ` to
`FAST_HZ`, so that no delay looks like another; w, the quintic of `trajectory.Move`, begins and ends it smoothly. Every
setpoint passes the limiter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.errors import DriverError
from drivers.motors.base import MotorBus
from edge_runtime.buses import ACTION_NS
from edge_runtime.clock import Clock
from edge_runtime.errors import EdgeError
from edge_runtime.limits import Floats, Limits
from edge_runtime.safety import Limiter

SECONDS = 8.0
SLOW_HZ, FAST_HZ = 0.5, 1.2
RAMP_S = 1.0
LONGEST_WAY_RAD = 0.5
SHORTEST_WAY_RAD = 0.05
"""A shorter way drowns in what gears and cameras add."""
LIMIT_SHARE = 0.5
"""Of each limit, that a swing may use: it also ramps."""
STRAY_RAD = 0.3
"""A joint that is further than this from its setpoint meets something."""


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


def plan(limits: Limits, index: int, rest_rad: Floats) -> Way:
    """The longest useful swing of one joint of an arm at rest at `rest_rad` [n].

    Raises `EdgeError` where there is no room for any, and where a joint is outside its limits: with torque it would
    move there first.
    """
    for name, at, low, high in zip(limits.names, rest_rad, limits.lower, limits.upper, strict=True):
        if not low <= at <= high:
            where = (
                f"at {math.degrees(at):.1f}°, outside its limits {math.degrees(low):.1f}° to {math.degrees(high):.1f}°"
            )
            raise EdgeError(f"joint {name} is {where}: move it inside by hand")
    below, above = rest_rad[index] - limits.lower[index], limits.upper[index] - rest_rad[index]
    omega = 2 * math.pi * FAST_HZ
    way = min(
        LONGEST_WAY_RAD,
        0.9 * max(below, above),
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


def swing(bus: MotorBus, limits: Limits, index: int, way: Way, period_ns: int, clock: Clock) -> Swung:
    """Switch torque on, swing joint `index` of `bus`, and end with the motors' safe action, whatever happens.

    `limits` are those of this bus's joints. Raises `DriverError`, also for a joint that meets something.
    """
    ticks = round(SECONDS * 1e9 / period_ns)
    t_ns, commanded, measured = np.zeros(ticks, np.int64), np.zeros(ticks), np.zeros(ticks)
    try:
        bus.enable_torque(clock.now_ns() + ACTION_NS)
        bus.read_state(clock.now_ns() + ACTION_NS)
        rest, limiter = bus.state.position_rad.copy(), Limiter(limits, period_ns / 1e9)
        limiter.start_from(rest)
        setpoint, due_ns = rest.copy(), clock.now_ns()
        for tick in range(ticks):
            clock.sleep_until(due_ns)
            due_ns += period_ns
            if clock.now_ns() > due_ns:  # slots that were missed are not made up for: motors never see a burst
                due_ns = clock.now_ns() + period_ns
            setpoint[:] = rest
            setpoint[index] += way.at(tick * period_ns * 1e-9)
            limiter.limit(setpoint)
            bus.write_setpoints(setpoint, clock.now_ns() + ACTION_NS)
            asked_ns = clock.now_ns()
            bus.read_state(asked_ns + ACTION_NS)
            t_ns[tick], commanded[tick] = (asked_ns + bus.state.stamp_ns) // 2, setpoint[index]
            measured[tick] = bus.state.position_rad[index]
            _stay_near(limits.names[index], commanded[tick], measured[tick])
    finally:
        bus.safe_action(clock.now_ns() + ACTION_NS)
    return Swung(t_ns, commanded, measured)


def _stay_near(name: str, commanded_rad: float, measured_rad: float) -> None:
    if abs(commanded_rad - measured_rad) > STRAY_RAD:
        away = math.degrees(abs(commanded_rad - measured_rad))
        raise DriverError(f"joint {name} is {away:.0f}° from its setpoint: something is in its way, or it is too weak")
