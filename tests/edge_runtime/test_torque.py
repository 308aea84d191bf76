"""What a run says of torque: only what it knows."""

from __future__ import annotations

import msgspec

from drivers.errors import Disconnected
from edge_runtime.config import Robot
from tests.edge_runtime.fakes import Rig, robot

GONE = Disconnected("bus arm: /dev/arm has gone away")


def says(rig: Rig) -> str:
    return rig.loop.torque.words(rig.robot.joint_names)


def letting_go(one: Robot, *names: str) -> Robot:
    """Those joints are to let go in SAFE."""
    joints = [msgspec.structs.replace(j, safe="release" if j.name in names else "hold") for j in one.buses[0].joints]
    return msgspec.structs.replace(one, buses=(msgspec.structs.replace(one.buses[0], joints=tuple(joints)),))


def test_taken_held_and_let_go_again() -> None:
    rig = Rig(robot())
    assert says(rig) == "not taken by this run"
    rig.loop.torque.take()
    assert says(rig) == "taken by this run"
    rig.loop.torque.make_safe()
    assert says(rig) == "held by the safe action"
    rig.loop.torque.let_go()
    assert says(rig) == "not taken by this run"
    rig.loop.torque.make_safe()
    assert says(rig) == "not taken by this run", "nothing was owed"
    rig.loop.torque.take()
    assert says(rig) == "taken by this run"


def test_joints_that_differ_are_named() -> None:
    one = robot()
    for names, words in (
        (one.joint_names, "let go by the safe action"),
        (
            one.joint_names[2:],
            "held by the safe action: shoulder_pan, shoulder_lift; "
            "let go by the safe action: elbow_flex, wrist_flex, wrist_roll, gripper",
        ),
    ):
        rig = Rig(letting_go(one, *names))
        rig.loop.torque.take()
        rig.loop.torque.make_safe()
        assert says(rig) == words


def test_a_bus_that_has_not_confirmed_or_was_connected_anew_is_in_doubt() -> None:
    pair = Rig(robot(arms=2))
    pair.loop.torque.take()
    right = pair.buses[1]
    right.fail(GONE, "safe_action")
    pair.loop.torque.make_safe()
    half = says(pair)
    assert half.startswith("held by the safe action: left.shoulder_pan, ")
    assert "; in doubt: right.shoulder_pan, " in half
    right.trouble.clear()
    pair.loop.torque.make_safe()
    assert says(pair) == "held by the safe action"
    pair.loop.torque.renew(pair.loop.buses.lines[1])
    assert says(pair) == half


def test_what_is_to_hold_is_in_doubt_where_switching_failed() -> None:
    for call, arm in (("enable_torque", False), ("disable_torque", True)):
        rig = Rig(robot())
        if arm:
            rig.loop.torque.take()
        rig.bus.fail(GONE, call)
        assert "failed, now in SAFE" in rig.say("disarm" if arm else "arm")
        assert says(rig) == "in doubt"
