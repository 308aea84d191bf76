"""A bus that was lost and is there again: tried by itself, proved to be the same, and moved only after a reset."""

from __future__ import annotations

from itertools import pairwise

import pytest

from drivers.errors import Disconnected, Timeout
from tests.edge_runtime.fakes import FakeBus, Rig, robot

GONE = Disconnected("bus arm: the port has gone away")
ABSENT = Disconnected("bus arm on /dev/arm: there is no such port")
UNPOWERED = Timeout("bus arm: no motor answers though the port is there")


@pytest.fixture
def rig() -> Rig:
    made = Rig(robot())
    made.loop.buses.connect()
    return made


def unplug(bus: FakeBus) -> None:
    bus.fail(GONE)
    bus.fail(ABSENT, "connect", "safe_action")


def tries(bus: FakeBus) -> int:
    return bus.calls.count("connect")


def test_unplugged_while_running_and_plugged_in_again(rig: Rig) -> None:
    rig.run_task()
    unplug(rig.bus)
    rig.until("SAFE", limit=100)
    rig.tick(300)
    assert rig.named("no connection") == [str(ABSENT)]  # one reason, one event, however many tries
    assert rig.loop.torque.ours
    rig.bus.calls.clear()
    del rig.bus.trouble["connect"]
    rig.tick(700)
    assert rig.named("bus back") == ["arm: the same motors with the same calibration; reset to go on"]
    assert [c for c in rig.bus.calls if c not in ("read_state", "read_health", "identify")][-2:] == [
        "connect",
        "safe_action",
    ]
    assert rig.bus.calls.count("connect") == 1
    assert not rig.loop.torque.ours
    assert rig.mode == "SAFE", "only a person leads out of it"
    writes = len(rig.bus.writes)
    assert rig.say("reset") == ""
    assert rig.mode == "DISARMED"
    rig.tick(100)
    assert len(rig.bus.writes) == writes
    assert rig.say("arm") == ""
    rig.until("READY")


def test_the_tries_come_later_each_time_and_cost_no_slot(rig: Rig) -> None:
    unplug(rig.bus)
    rig.bus.takes_ns["connect"] = 900_000_000
    tried, when = 1, []
    for tick in range(3_000):
        rig.tick()
        if tries(rig.bus) > tried:
            tried = tries(rig.bus)
            when.append(tick)
    gaps = [b - a for a, b in pairwise(when)]
    assert when[0] == pytest.approx(50, abs=2)
    assert gaps[:3] == pytest.approx([100, 200, 500], abs=2)
    assert set(gaps[2:]) <= {500, 501}
    assert rig.loop.pacer.missed == 0
    assert max(rig.petted) > 1.0  # the stuck timer was told to wait


def test_nothing_is_tried_while_the_arm_is_driven(rig: Rig) -> None:
    rig.run_task()
    rig.bus.fail(Timeout("no answer"))
    rig.until("HOLD", limit=50)
    assert tries(rig.bus) == 1
    rig.bus.trouble.clear()
    rig.tick(500)
    assert rig.mode == "HOLD"
    assert tries(rig.bus) == 1


def test_a_supply_that_fails_and_returns_is_told_from_a_cable(rig: Rig) -> None:
    rig.run_task()
    rig.bus.fail(Timeout("bus arm: none of the 6 motors answered in time"))
    rig.bus.fail(UNPOWERED, "connect", "safe_action")
    rig.until("SAFE", limit=100)
    rig.tick(200)
    assert rig.named("no connection") == [str(UNPOWERED)]
    rig.bus.trouble.clear()  # it answers by itself: that it is the same is to be proved all the same
    rig.bus.calls.clear()
    rig.tick(700)
    assert rig.bus.calls.count("identify") == 6
    assert len(rig.named("bus back")) == 1


@pytest.mark.parametrize(("attribute", "words"), [("homing", "homing offset 7"), ("model", "sts3250")])
def test_another_motor_in_its_place_is_refused_in_one_line(rig: Rig, attribute: str, words: str) -> None:
    rig.run_task()
    unplug(rig.bus)
    rig.until("SAFE", limit=100)
    identify = rig.bus.identify

    def other(index: int, deadline_ns: int) -> object:
        import dataclasses

        found = identify(index, deadline_ns)
        return found if index != 2 else dataclasses.replace(found, **{attribute: 7 if attribute == "homing" else words})

    rig.bus.identify = other  # type: ignore[method-assign, assignment]
    del rig.bus.trouble["connect"]
    rig.tick(700)
    assert rig.named("bus back") == []
    (said,) = [cause for cause in rig.named("no connection") if "joint" in cause]
    assert said.startswith("bus arm: joint 'elbow_flex' (id 3) was sts3215 and homing offset 0 and is ")
    assert words in said
    assert "\n" not in said
    assert said in rig.say("reset")
    assert rig.mode == "SAFE"
    rig.bus.identify = identify  # type: ignore[method-assign]
    rig.tick(700)
    assert len(rig.named("bus back")) == 1


def test_one_bus_of_two_comes_back_and_the_other_is_left_alone() -> None:
    pair = Rig(robot(arms=2))
    pair.loop.buses.connect()
    pair.run_task()
    left, right = pair.buses
    unplug(left)
    pair.until("SAFE", limit=100)
    del left.trouble["connect"]
    pair.tick(300)
    assert pair.named("bus back") == ["left: the same motors with the same calibration; reset to go on"]
    assert tries(right) == 1
    assert pair.say("reset") == ""


def test_a_bus_that_is_back_while_disarmed_waits_for_an_arm(rig: Rig) -> None:
    rig.tick(3)
    rig.bus.fail(GONE)
    rig.tick(200)
    assert rig.named("bus back") == ["arm: the same motors with the same calibration; arm to go on"]
    assert rig.say("arm") == ""
