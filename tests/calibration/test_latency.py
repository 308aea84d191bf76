"""Delays of the simulated camera and servos, found by swinging a joint of it in fake time."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from calibration import latency
from drivers.sim.world import World
from edge_runtime import config_check, swing
from edge_runtime.buses import Buses
from edge_runtime.devices import bus_settings
from edge_runtime.errors import EdgeError
from edge_runtime.limits import Limits
from tests.calibration.sim_rig import SimClock, WorldBus

ROBOT = config_check.parse(resources.files("drivers.sim").joinpath("robot.toml").read_bytes(), Path("/nowhere"))
LIMITS = Limits.of(ROBOT)
PERIOD_NS = 10_000_000


@lru_cache
def swung(camera: str, joint: int) -> tuple[swing.Swung, SimClock, WorldBus]:
    clock = SimClock(World(3), camera)
    bus = WorldBus(bus_settings(ROBOT.buses[0]), clock)
    bus.connect(0)
    way = swing.plan(LIMITS, joint, bus.state.position_rad)
    buses = Buses([bus], clock, 2 * PERIOD_NS)
    return swing.swing(buses, LIMITS, joint, way, PERIOD_NS, clock), clock, bus


@pytest.mark.parametrize(("camera", "joint"), [("base", 0), ("wrist", 4)])
@pytest.mark.parametrize("delay_ms", [0.0, 47.3, 181.0])
def test_the_cameras_delay_is_recovered_to_2_ms(camera: str, joint: int, delay_ms: float) -> None:
    found, clock, bus = swung(camera, joint)
    stamps = np.array(clock.taken_ns, np.int64) + round(delay_ms * 1e6)
    delay = latency.camera_delay(found.t_ns, found.measured_rad, stamps, np.array(clock.changes))
    assert delay.delay_s * 1e3 == pytest.approx(delay_ms, abs=2.0)
    assert delay.spread_s < 0.005
    assert bus.safe


def test_a_motors_delay_is_that_of_a_known_one() -> None:
    t = np.arange(800) * 0.01
    way = swing.Way(0.3)
    commanded = np.array([way.at(x) for x in t])
    measured = np.array([way.at(x - 0.0634) for x in t])
    delay = latency.actuator_delay((t * 1e9).astype(np.int64), commanded, measured)
    assert delay.delay_s == pytest.approx(0.0634, abs=1e-3)
    assert delay.correlation > 0.999


def test_a_camera_that_sees_nothing_move_is_refused() -> None:
    found, clock, _ = swung("base", 0)
    noise = np.random.default_rng(0).uniform(size=len(clock.changes))
    with pytest.raises(EdgeError, match="hardly sees this joint move"):
        latency.camera_delay(found.t_ns, found.measured_rad, np.array(clock.taken_ns, np.int64), noise)
    with pytest.raises(EdgeError, match="delivered 3 frames"):
        latency.camera_delay(found.t_ns, found.measured_rad, np.array(clock.taken_ns[:3], np.int64), noise[:3])


def test_a_joint_that_is_held_back_is_refused() -> None:
    t = np.arange(800) * 0.01
    still = np.full(800, 0.2)
    with pytest.raises(EdgeError, match="does not follow"):
        latency.actuator_delay((t * 1e9).astype(np.int64), np.array([swing.Way(0.3).at(x) for x in t]), still)


def test_play_in_the_gears_does_not_pass_for_a_delay() -> None:
    t = np.arange(0, swing.SECONDS, 0.001)
    shaft = np.array([swing.Way(0.25).at(x) for x in t])
    link, at = np.empty_like(shaft), 0.0
    for index, angle in enumerate(shaft):
        at = min(max(at, angle - 0.005), angle + 0.005)
        link[index] = at
    taken = np.arange(0.5, swing.SECONDS - 0.1, 1 / 30)
    seen = np.abs(np.diff(np.interp(taken, t, link), prepend=0.0))
    stamps = ((taken + 0.0512) * 1e9).astype(np.int64)
    delay = latency.camera_delay((t[::10] * 1e9).astype(np.int64), shaft[::10], stamps, seen)
    assert delay.delay_s == pytest.approx(0.0512, abs=1e-3)
    assert delay.correlation > 0.9995
