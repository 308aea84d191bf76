"""From robot.toml to what the drivers are given: settings in radians, and the driver that a `kind` names."""

from __future__ import annotations

from drivers.cameras.base import Camera, CameraSettings
from drivers.motors.base import BusSettings, MotorBus, MotorSettings
from edge_runtime import config, plugins


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
        )
        for joint in bus.joints
    )
    return BusSettings(name=bus.name, port=bus.port, baud=bus.baud, motors=motors)


def camera_settings(camera: config.Camera) -> CameraSettings:
    """What a camera driver must know of its camera."""
    return CameraSettings(
        name=camera.name, device=camera.device, width=camera.width, height=camera.height, fps=camera.fps
    )


def make_bus(bus: config.Bus) -> MotorBus:
    """The bus's driver, not yet connected."""
    driver: MotorBus = plugins.load("drivers.motors", bus.kind).Bus(bus_settings(bus))
    return driver


def make_camera(camera: config.Camera) -> Camera:
    """The camera's driver, not yet open."""
    driver: Camera = plugins.load("drivers.cameras", camera.kind).Device(camera_settings(camera))
    return driver
