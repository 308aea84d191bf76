"""One calibration from robot.toml's devices to what was found: opened, checked, measured, and closed again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from drivers.estops.base import Estop
from edge_runtime import calibrated, plugins, signals, swing
from edge_runtime import calibration_files as files
from edge_runtime.buses import Buses
from edge_runtime.calibration_files import Board, BusCalibration, CameraCalibration, LatencyCalibration
from edge_runtime.clock import MonotonicClock
from edge_runtime.config import Bus, Camera, Joint, Robot
from edge_runtime.devices import bus_settings, make_bus, make_camera, make_estop
from edge_runtime.errors import EdgeError
from edge_runtime.estop import Estops, EstopThread
from edge_runtime.fence import Workspace
from edge_runtime.files import write_whole
from edge_runtime.limits import Floats, Limits
from edge_runtime.sight import Sight

CONNECT_NS = 3_000_000_000
SWING_CYCLE_NS = 500_000_000
"""Longest serial cycle of a swing: many times what any bus takes, because one that misses it ends the measurement."""
ENCODERS = ("feetech", "dynamixel")
"""Buses whose motors have an encoder of 4,096 steps a turn and a homing offset."""
Person = Any
"""`calibration.person.Person`."""
Pose = Literal["zero", "start", "park"]


def joints(bus: Bus, pose: Pose, path: Path, person: Person, *, restart: bool) -> BusCalibration:
    """Guide `person` through the joints of `bus` and write `path`. Raises `EdgeError` and `DriverError`."""
    if bus.kind not in ENCODERS:
        raise EdgeError(f"bus {bus.name}: joints of {' and '.join(ENCODERS)} motors are calibrated, not of {bus.kind}")
    guided = plugins.require("calibration.joints")
    driver = plugins.load("drivers.motors", bus.kind).Bus(guided.encoder_settings(bus_settings(bus)))
    driver.connect(MonotonicClock().now_ns() + CONNECT_NS)
    try:
        angles = [_angle(joint, pose) for joint in bus.joints]
        adapter = plugins.require("drivers.usb").usb_identity(bus.port)
        guide = guided.Guide(driver, angles, person, path, adapter)
        found: BusCalibration = guide.run(restart=restart)
        return found
    finally:
        driver.disconnect()


def lens(camera: Camera, board: Board, views: int, path: Path, person: Person) -> CameraCalibration:
    """Collect `views` of `board` and write `path`, and a picture beside it. Raises `EdgeError` and `DriverError`."""
    guided, device = plugins.require("calibration.camera"), make_camera(camera)
    try:
        device.open()
        measured = guided.measure_lens(device, calibrated.camera_identity(camera), board, views, person)
    finally:
        device.close()
    write_whole(path.with_suffix(".png"), measured.picture)
    files.write(path, measured.found)
    found: CameraCalibration = measured.found
    return found


def mount(
    robot: Robot, camera: Camera, frame: Literal["tip", "base"], poses: int, path: Path, person: Person
) -> CameraCalibration:
    """Collect `poses` of the arm, whose torque stays as it is, and write `path`. Raises `EdgeError`, `DriverError`."""
    known = calibrated.camera(robot, camera.name)
    if known is None:
        raise EdgeError(f"camera {camera.name}: its lens is not known: run edge calibrate camera without --mount first")
    if not robot.kinematics.urdf:
        raise EdgeError("robot.toml has no [kinematics]: without the arm's shape nobody knows where its tip is")
    guided, clock, device = plugins.require("calibration.camera"), MonotonicClock(), make_camera(camera)
    arm = plugins.require("edge_runtime.kinematics").Arm(robot)
    buses = Buses([make_bus(bus) for bus in robot.buses], clock, CONNECT_NS, calibrated.checker(robot))

    def tip() -> NDArray[Any]:
        buses.read(clock.now_ns())
        if troubles := [line.trouble for line in buses.lines if line.misses]:
            raise EdgeError(troubles[0])
        pose: NDArray[Any] = arm.pose(buses.measured_rad[arm.index]).homogeneous
        return pose

    try:
        buses.connect()
        device.open()
        calibrated.check_cameras(robot)
        found: CameraCalibration = guided.measure_mount(device, known, frame, tip, poses, person)
    finally:
        device.close()
        buses.disconnect()
    files.write(path, found)
    return found


def delays(robot: Robot, joint: int, camera: Camera, path: Path, person: Person) -> LatencyCalibration:
    """Swing the robot's joint number `joint` in the camera's sight and write `path`.

    Torque goes on once `person` has agreed, and only while no e-stop of the robot is pressed or lost. Raises
    `EdgeError`, `DriverError` and, where a signal asks for the end, `KeyboardInterrupt`: the arm has come to rest and
    is safe then, or the error says that it may not be.
    """
    latency = plugins.require("calibration.latency")
    done, stamps, changes = _seen_swing(robot, joint, camera, person)
    late = latency.camera_delay(done.t_ns, done.measured_rad, stamps, changes)
    follows = latency.actuator_delay(done.t_ns, done.commanded_rad, done.measured_rad)
    found = LatencyCalibration(
        format=files.FORMAT,
        date=files.now(),
        tool=files.tool(),
        camera=camera.name,
        device=calibrated.camera_identity(camera),
        joint=robot.joint_names[joint],
        camera_delay_ms=late.delay_s * 1e3,
        camera_spread_ms=late.spread_s * 1e3,
        actuator_delay_ms=follows.delay_s * 1e3,
        actuator_spread_ms=follows.spread_s * 1e3,
        correlation=min(late.correlation, 1.0),
        frames=len(stamps),
    )
    files.write(path, found)
    return found


def _seen_swing(
    robot: Robot, joint: int, camera: Camera, person: Person
) -> tuple[swing.Swung, NDArray[np.int64], Floats]:
    """What the joint did, and the stamps and changes of the frames meanwhile."""
    bus, index = _bus_of(robot, joint)
    arm = msgspec.structs.replace(robot, buses=(bus,))
    limits, workspace, clock = Limits.of(arm), Workspace.of(arm), MonotonicClock()
    buses = Buses([make_bus(bus)], clock, SWING_CYCLE_NS, calibrated.checker(robot))
    with ExitStack() as parts:
        estops = parts.enter_context(_watched([make_estop(estop) for estop in robot.estops]))
        parts.callback(buses.disconnect)
        buses.connect()
        way = swing.plan(limits, index, buses.measured_rad)
        _refuse_pressed(estops, clock.now_ns())
        person.agree(_warning(limits.names[index], way))
        sight = parts.enter_context(Sight(make_camera(camera)))
        check = parts.enter_context(_ended_by(estops))
        period_ns = round(1e9 / robot.control.rate_hz)
        done = swing.swing(buses, limits, index, way, period_ns, clock, check, workspace)
        return done, *sight.seen()


def _warning(joint: str, way: swing.Way) -> str:
    return (
        f"torque goes on, and {joint} swings by {math.degrees(way.way_rad):+.0f}° and back for {swing.SECONDS:g} s: "
        "keep clear, Ctrl-C ends it"
    )


@contextmanager
def _watched(inputs: Sequence[Estop]) -> Iterator[Estops]:
    """The e-stop inputs are open and looked at until the block ends. Raises `DriverError` where one cannot be read."""
    threads = [EstopThread(one, lambda *_: None) for one in inputs]  # what it reports is asked for at each tick
    with ExitStack() as parts:
        for thread in threads:
            parts.callback(thread.stop)
            thread.start()
        yield Estops(threads)


@contextmanager
def _ended_by(estops: Estops) -> Iterator[swing.Check]:
    """What ends a swing: an e-stop, and within the block a signal, which interrupts nothing else."""
    signalled: list[str] = []

    def check(now_ns: int) -> None:
        _refuse_pressed(estops, now_ns)
        if signalled:
            raise KeyboardInterrupt

    with signals.told(signalled.append):
        yield check


def _refuse_pressed(estops: Estops, now_ns: int) -> None:
    if cause := estops.check(now_ns):
        raise EdgeError(f"{cause}: release it, and start again")


def _bus_of(robot: Robot, place: int) -> tuple[Bus, int]:
    """The bus of the robot's joint number `place`, and the joint's number on it."""
    for bus in robot.buses:
        if place < len(bus.joints):
            return bus, place
        place -= len(bus.joints)
    raise IndexError(place)


def _angle(joint: Joint, pose: str) -> float:
    """Of a joint in the reference pose, rad."""
    low, high = joint.position_rad
    return {"zero": min(max(0.0, low), high), "start": joint.start_rad, "park": joint.park_rad}[pose]
