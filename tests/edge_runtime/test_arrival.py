"""The end of a move: the joints are there, and at rest."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.arrival import Arrival
from tests.edge_runtime.fakes import Rig, robot

MS = 1_000_000
LIMIT = np.array([0.25, 0.25, np.inf])
SET = np.array([1.0, -1.0, 0.5])
STILL = np.zeros(3)


@pytest.mark.parametrize(("off", "there"), [(0.0, True), (0.25, True), (0.2500001, False)])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_joints_come_to_rest_within_their_limits(off: float, there: bool, side: float) -> None:
    measured = SET + np.array([0.0, side * off, -3.0])  # the last one grips
    assert Arrival(LIMIT).check(0, SET, measured, STILL) is there


@pytest.mark.parametrize(("speed", "there"), [(0.1, True), (-0.1, True), (0.11, False), (-0.11, False)])
def test_one_that_still_moves_has_not_arrived(speed: float, there: bool) -> None:
    assert Arrival(LIMIT).check(0, SET, SET, np.array([0.0, speed, 0.0])) is there


def test_one_that_trembles_holds_nothing_up_for_ever() -> None:
    arrival, trembling = Arrival(LIMIT), np.array([0.0, 0.5, 0.0])
    assert not arrival.check(5_000 * MS, SET, SET, trembling)
    assert not arrival.check(5_999 * MS, SET, SET, trembling)
    assert arrival.check(6_000 * MS, SET, SET, trembling)
    assert not arrival.check(6_000 * MS, SET, SET + 0.3, trembling)
    arrival.begin()
    assert not arrival.check(6_000 * MS, SET, SET, trembling)


@pytest.mark.parametrize("move", ["start", "park"])
def test_a_move_ends_when_the_joints_have_followed(move: str) -> None:
    rig = Rig(robot())
    rig.bus.position[:] = 0.5
    rig.tick()
    rig.say("arm")
    if move == "park":
        rig.until("READY")
        rig.say("task", "reach")
        rig.until("RUN (task)")
        rig.say("done")
    moving = rig.mode
    rig.bus.state.velocity_rad_s[:] = 0.3
    rig.tick(10)
    while not rig.loop.director.still:
        rig.tick()
    rig.tick(50)
    assert rig.mode == moving
    rig.bus.state.velocity_rad_s[:] = 0.0
    rig.tick()
    assert rig.mode == "READY"
