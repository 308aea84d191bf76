"""What a person does to a robot while it is calibrated, done to the simulated one through its judge."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from drivers.sim.arm import HIGH_RAD
from drivers.sim.feetech_device import FeetechDevice
from drivers.sim.horns import Horns
from drivers.sim.judge import Judge
from drivers.sim.realtime import RealTime
from drivers.sim.scene_json import unpack
from drivers.sim.world import START_RAD, World


class Robot:
    """World, servos and judge, whose time passes when it is told to."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000
        self.world = World(3)
        self.horns = Horns(self.world)
        self.live = RealTime(self.horns, FeetechDevice(self.horns), lambda: self.now_ns)
        self.plugged: list[bool] = []
        self.judge = Judge(self.world, self.live, self.horns, self.plugged.append)

    def ask(self, **command: Any) -> dict[str, Any]:
        self.now_ns += 50_000_000
        return self.judge.answer(json.dumps(command))


@pytest.fixture
def robot() -> Robot:
    return Robot()


def test_a_hand_holds_limp_joints_and_lets_go(robot: Robot) -> None:
    robot.ask(cmd="hand", joints={"elbow_flex": 1.2, "wrist_roll": 99.0})
    for _ in range(10):
        state = robot.ask(cmd="state")
    assert state["joints"]["elbow_flex"] == pytest.approx(1.2, abs=0.001)
    assert state["joints"]["wrist_roll"] == pytest.approx(HIGH_RAD[4], abs=0.001), "no further than its stop"
    robot.ask(cmd="hand", joints={})
    for _ in range(20):
        state = robot.ask(cmd="state")
    assert state["joints"]["elbow_flex"] > 1.21, "it sinks"


def test_a_hand_does_not_move_what_has_torque(robot: Robot) -> None:
    robot.world.torque_on[:] = True
    robot.live.device.servos[0].table[40] = 1
    robot.ask(cmd="hand", joints={"shoulder_pan": 1.0})
    assert abs(robot.ask(cmd="state")["joints"]["shoulder_pan"]) < 0.1


def test_a_horn_shifts_what_the_encoder_says_and_not_the_joint(robot: Robot) -> None:
    state = robot.ask(cmd="horn", joint="gripper", steps=100, direction=-1)
    assert state["joints"]["gripper"] == pytest.approx(START_RAD[5], abs=0.002)
    assert robot.horns.position_rad[5] == pytest.approx(-START_RAD[5] + 100 * 2 * np.pi / 4096, abs=0.002)


def test_board_and_delay_are_in_what_the_cameras_are_told(robot: Robot) -> None:
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    robot.ask(cmd="board", pose=pose.tolist())
    robot.ask(cmd="delay", camera="wrist", ms=47.5)
    seen = robot.ask(cmd="scene")
    board = unpack(json.loads(json.dumps(seen["scene"]))).board
    assert board is not None
    np.testing.assert_array_equal(board.pose, pose)
    assert seen["delay_ns"] == {"base": 0, "wrist": 47_500_000}
    robot.ask(cmd="board", pose=None)
    assert unpack(robot.ask(cmd="scene")["scene"]).board is None


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ({"cmd": "hand", "joints": {"nose": 1.0}}, "unknown joint 'nose'"),
        ({"cmd": "hand", "joints": [1.0]}, "TypeError"),
        ({"cmd": "hand"}, "joints"),
        ({"cmd": "horn", "joint": "gripper", "steps": 1, "direction": 0}, "neither 1 nor -1"),
        ({"cmd": "horn", "joint": "nose", "steps": 1, "direction": 1}, "unknown joint 'nose'"),
        ({"cmd": "board", "pose": [1.0, 2.0]}, "ValueError"),
        ({"cmd": "delay", "camera": "nose", "ms": 1}, "delay of 'nose'"),
        ({"cmd": "delay", "camera": "base", "ms": -1}, "delay of 'base'"),
    ],
)
def test_nonsense_is_one_answer_and_changes_nothing(robot: Robot, command: dict[str, Any], says: str) -> None:
    before = robot.ask(cmd="scene")
    assert says in robot.ask(**command)["error"]
    after = robot.ask(cmd="scene")
    assert {**after["scene"], "time_ms": 0, "q": 0, "cups": 0} == {**before["scene"], "time_ms": 0, "q": 0, "cups": 0}
    assert after["delay_ns"] == before["delay_ns"]


def test_the_ports_plug_is_pulled_and_put_in(robot: Robot) -> None:
    robot.ask(cmd="fault", kind="unplug_port", on=True)
    assert robot.ask(cmd="state")["faults"] == [{"kind": "unplug_port", "target": ""}]
    robot.ask(cmd="fault", kind="unplug_port", on=False)
    assert robot.plugged == [False, True]
