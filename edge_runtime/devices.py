"""From robot.toml to what the drivers are given: settings in radians, and the driver that a `kind` names."""

from __future__ import annotations

import math
from collections.abc import Sequence

from drivers.cameras.base import Camera, CameraSettings
from drivers.estops.base import Estop, EstopSettings
from drivers.hands.base import Hand
from drivers.motors.base import BusSettings, MotorBus, MotorSettings
from edge_runtime import config, plugins

LEADER_ZERO = 2048
"""Encoder count from which a leader's angles are counted: the middle of the turn that both kinds of servo have."""


def bus_settings(bus: config.Bus) -> BusSettings:
    """What a motor driver must know of its bus."""
    motors = tuple(
        MotorSettings(
            name=joint.name,
            id=joint.id,
            model=joint.model,
            zero_step=joint.zero_step,
            direction=joint.direction,
            range_rad=joint.position_rad,
            safe=joint.safe,
            stiffness=joint.stiffness,
            damping=joint.damping,
            torque_limit=joint.torque_limit,
        )
        for joint in bus.joints
    )
    return BusSettings(name=bus.name, port=bus.port, baud=bus.baud, motors=motors)


def camera_settings(camera: config.Camera) -> CameraSettings:
    """What a camera driver must know of its camera."""
    return CameraSettings(
        name=camera.name,
        device=camera.device,
        width=camera.width,
        height=camera.height,
        fps=camera.fps,
        format=camera.format,
        exposure_ms=camera.exposure_ms,
    )


def make_bus(bus: config.Bus) -> MotorBus:
    """The bus's driver, not yet connected."""
    driver: MotorBus = plugins.load("drivers.motors", bus.kind).Bus(bus_settings(bus))
    return driver


def make_camera(camera: config.Camera) -> Camera:
    """The camera's driver, not yet open."""
    driver: Camera = plugins.load("drivers.cameras", camera.kind).Device(camera_settings(camera))
    return driver


def make_estop(estop: config.Estop) -> Estop:
    """The input's driver, not yet open."""
    settings = EstopSettings(name=estop.name, device=estop.device, input=estop.input)
    driver: Estop = plugins.load("drivers.estops", estop.kind).Device(settings)
    return driver


def make_hand(robot: config.Robot) -> Hand | None:
    """What a person takes the arm over with, not yet open; None where `robot` has nothing of the kind."""
    hand: Hand | None = None
    if robot.leader is not None:
        scale = [joint.scale for joint in robot.leader.joints]
        hand = plugins.load("drivers.hands", "leader").Device(leader_bus(robot.leader, robot.joint_names), scale)
    elif robot.gamepad is not None:
        driver = plugins.load("drivers.hands", "gamepad")
        names, joints = robot.joint_names, robot.joints
        axes = [
            driver.AxisSettings(a.axis, index, a.speed * joints[index].scale_rad)
            for a in robot.gamepad.axes
            for index in [names.index(a.joint)]
        ]
        hand = driver.Device(robot.gamepad.device, axes, len(joints))
    return hand


def leader_bus(leader: config.Leader, names: Sequence[str]) -> MotorBus:
    """A bus that is only read, over the whole turn: of its angles only changes count, and nothing is ever commanded."""
    motors = tuple(
        MotorSettings(name, joint.id, joint.model, LEADER_ZERO, 1, (-math.pi, math.pi), "release")
        for name, joint in zip(names, leader.joints, strict=True)
    )
    settings = BusSettings(name="leader", port=leader.port, baud=leader.baud, motors=motors)
    driver: MotorBus = plugins.load("drivers.motors", leader.kind).Bus(settings)
    return driver
