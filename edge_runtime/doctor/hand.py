"""What a person has in hand: e-stop inputs and the leader or gamepad to take over with, opened as `edge run` does.

Only read: the leader's motors are asked who they are, and its torque, which a run switches off, stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from drivers.errors import DriverError
from edge_runtime import config
from edge_runtime.config import Robot
from edge_runtime.devices import leader_bus, make_estop, make_hand
from edge_runtime.doctor import motors
from edge_runtime.doctor.check import Check
from edge_runtime.errors import EdgeError


def named(robot: Robot) -> bool:
    """Whether robot.toml names any of these."""
    return bool(robot.estops or robot.leader or robot.gamepad)


def check(robot: Robot) -> Iterator[Check]:
    """A line for each e-stop, for each motor of the leader, for the gamepad."""
    yield from map(estop, robot.estops)
    if robot.leader is not None:
        leader, names = robot.leader, robot.joint_names
        yield from motors.ask("leader", lambda: leader_bus(leader, names))
    elif robot.gamepad is not None:
        yield gamepad(robot, robot.gamepad.device)


def estop(one: config.Estop) -> Check:
    """Whether an input can be read, and how it is."""
    name = f"e-stop {one.name}"
    try:
        driver = make_estop(one)
        try:
            driver.open()
            pressed = driver.read(0.0)
        finally:
            driver.close()
    except (DriverError, EdgeError) as error:
        return Check(name, "bad", str(error))
    if pressed:
        return Check(name, "warn", f"{one.device}, {one.input}: pressed", "release it, or the robot cannot be armed")
    return Check(name, "ok", f"{one.device}, {one.input}: released")


def gamepad(robot: Robot, device: str) -> Check:
    """Whether the pad is there, has every axis, and each is at its middle."""
    try:
        pad = make_hand(robot)
        assert pad is not None  # it is named
        try:
            pad.open()
        finally:
            pad.close()
    except (DriverError, EdgeError) as error:
        return Check("gamepad", "bad", str(error))
    return Check("gamepad", "ok", f"{device}: its axes are there, at their middle")
