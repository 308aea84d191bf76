"""What no single field can tell: whether the parts of a robot fit together. Each rule yields `key: what is wrong`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator

import msgspec

from drivers.masked import masked
from edge_runtime import plugins
from edge_runtime.config import Bus, Camera, Joint, Leader, Robot
from edge_runtime.suggest import did_you_mean

LEADER_KINDS = ("dynamixel", "feetech")
"""Motors that a hand can turn without their torque, with an encoder of one turn."""

SOCKET_PATH_BYTES = 107
"""Longest path of a unix socket: sun_path of 108 bytes less its end (unix(7))."""


def problems(robot: Robot) -> Iterator[str]:
    """Everything that makes `robot` impossible, in the order of the file."""
    yield from _values(robot, "")
    yield from _policy(robot)
    yield from _cameras(robot.cameras)
    yield from _buses(robot.buses)
    yield from _ports(robot)
    yield from _control(robot)
    yield from _kinematics(robot)
    yield from _workspace(robot)
    yield from _estops(robot)
    yield from _hand(robot)


def _values(value: object, key: str) -> Iterator[str]:
    """Figures are finite and text is printable, everywhere."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{key}: must be a finite number, got {value}"
    elif isinstance(value, str) and not value.isprintable():
        yield f"{key}: must be one line of printable text"
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _values(getattr(value, name), f"{key}.{name}" if key else name)
    elif isinstance(value, tuple):
        for index, inner in enumerate(value):
            yield from _values(inner, f"{key}[{index}]")


def _policy(robot: Robot) -> Iterator[str]:
    yield from _known("policy.backend", robot.policy.backend, plugins.BACKENDS)
    if robot.policy.autostart and not robot.policy.instruction.strip():
        yield "policy.autostart: moving at power-on needs policy.instruction, which is empty"


def _cameras(cameras: tuple[Camera, ...]) -> Iterator[str]:
    yield from _unique("cameras[{}].name", [c.name for c in cameras])
    yield from _unique("cameras[{}].device", [(c.kind, c.device) for c in cameras])
    for index, camera in enumerate(cameras):
        yield from _known(f"cameras[{index}].kind", camera.kind, "drivers.cameras")


def _buses(buses: tuple[Bus, ...]) -> Iterator[str]:
    yield from _unique("buses[{}].name", [b.name for b in buses])
    full_names: dict[tuple[str, str], str] = {}
    for index, bus in enumerate(buses):
        key = f"buses[{index}]"
        yield from _known(f"{key}.kind", bus.kind, "drivers.motors")
        yield from _unique(key + ".joints[{}].id", [j.id for j in bus.joints])
        for place, joint in enumerate(bus.joints):
            where = f"{key}.joints[{place}]"
            yield from _joint(where, joint)
            first = full_names.setdefault((joint.group or bus.name, joint.name), where)
            if first != where:
                yield f"{where}.name: {joint.name} is already the name of {first}"


def _ports(robot: Robot) -> Iterator[str]:
    """However a port is spelt, it is one port; the null bus has none."""
    named = [(f"buses[{i}].port", bus.port) for i, bus in enumerate(robot.buses) if bus.kind != "null"]
    named += [("leader.port", robot.leader.port)] if robot.leader is not None else []
    keys: dict[str, str] = {}
    for key, port in named:
        first = keys.setdefault(os.path.realpath(port) if "/" in port else port, key)
        if first != key:
            yield f"{key}: {port} is already that of {first}"


def _joint(key: str, joint: Joint) -> Iterator[str]:
    low, high = joint.position
    if low >= high:
        yield f"{key}.position: the lowest, {low:g}, must be below the highest, {high:g}"
    for name, value in (("start", joint.start), ("park", joint.park)):
        if not low <= value <= high:
            yield f"{key}.{name}: {value:g} is outside position [{low:g}, {high:g}] {joint.units}"
    if joint.grip and joint.torque_limit == 1.0 and not joint.stiffness:
        yield (
            f"{key}.grip: pushing on with all its torque it would overload: give it a torque_limit below 1 "
            f"(a damiao motor's stiffness is one)"
        )


def _control(robot: Robot) -> Iterator[str]:
    period_ms = 1000.0 / robot.control.rate_hz
    if robot.deadlines.stuck_ms <= 2 * period_ms:
        yield (
            f"deadlines.stuck_ms: {robot.deadlines.stuck_ms:g} would end a healthy process: "
            f"must be more than two control periods, {2 * period_ms:g} ms"
        )
    coasts_ms = robot.deadlines.inference_ms + robot.deadlines.coast_ms
    if robot.deadlines.hung_ms <= coasts_ms:
        yield (
            f"deadlines.hung_ms: {robot.deadlines.hung_ms:g} would end a process that only coasts: "
            f"must be more than inference_ms and coast_ms together, {coasts_ms:g} ms"
        )
    size = len(os.fsencode(robot.control.socket))
    if size > SOCKET_PATH_BYTES:
        yield f"control.socket: {robot.control.socket} has {size} bytes, a socket's path at most {SOCKET_PATH_BYTES}"


def _kinematics(robot: Robot) -> Iterator[str]:
    shape, names = robot.kinematics, [joint.name for joint in robot.joints]
    for key in ("urdf", "tip", "gripper"):
        if not getattr(shape, key) and (shape.urdf or shape.tip or shape.gripper):
            yield f"kinematics.{key}: is missing"
    if shape.gripper and shape.gripper not in names:
        yield f"kinematics.gripper: there is no joint {shape.gripper}{did_you_mean(shape.gripper, names)}"


def _workspace(robot: Robot) -> Iterator[str]:
    box = robot.workspace
    if box is None:
        return
    if not robot.kinematics.urdf:
        yield "workspace: needs [kinematics]: without the arm's shape nobody knows where its tip is"
    for axis, low, high in zip("xyz", box.low, box.high, strict=True):
        if low >= high:
            yield f"workspace: the lowest {axis}, {low:g}, must be below the highest, {high:g}"


def _estops(robot: Robot) -> Iterator[str]:
    yield from _unique("estops[{}].name", [e.name for e in robot.estops])
    yield from _unique("estops[{}].input", [(e.device, e.input) for e in robot.estops])
    for index, estop in enumerate(robot.estops):
        yield from _known(f"estops[{index}].kind", estop.kind, "drivers.estops")


def _hand(robot: Robot) -> Iterator[str]:
    leader, pad = robot.leader, robot.gamepad
    if leader is not None and pad is not None:
        yield "gamepad: the arm follows one hand, and there is a leader: take one of them out"
    if leader is not None:
        yield from _leader(leader, robot)
    if pad is not None:
        names = robot.joint_names
        for index, axis in enumerate(pad.axes):
            if axis.joint not in names:
                yield f"gamepad.axes[{index}].joint: there is no joint {axis.joint}{did_you_mean(axis.joint, names)}"
            if axis.speed == 0:
                yield f"gamepad.axes[{index}].speed: 0 would never move the joint"
        yield from _unique("gamepad.axes[{}].axis", [a.axis for a in pad.axes])
        yield from _unique("gamepad.axes[{}].joint", [a.joint for a in pad.axes])


def _leader(leader: Leader, robot: Robot) -> Iterator[str]:
    if leader.kind not in LEADER_KINDS:
        yield (
            f'leader.kind: "{leader.kind}" is no kind of leader, only {" and ".join(LEADER_KINDS)} are'
            f"{did_you_mean(leader.kind, LEADER_KINDS)}"
        )
    if len(leader.joints) != len(robot.joints):
        yield f"leader.joints: the robot has {len(robot.joints)} joints and its leader {len(leader.joints)}"
    yield from _unique("leader.joints[{}].id", [j.id for j in leader.joints])
    for index, joint in enumerate(leader.joints):
        if joint.scale == 0:
            yield f"leader.joints[{index}].scale: 0 would never move the joint"


def _known(key: str, name: str, package: str) -> Iterator[str]:
    if fault := plugins.unknown(package, name):
        yield f"{key}: {fault}"


def _unique(key: str, values: Iterable[object]) -> Iterator[str]:
    seen: dict[object, int] = {}
    for index, value in enumerate(values):
        first = seen.setdefault(value, index)
        if first != index:
            shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
            yield f"{key.format(index)}: {masked(str(shown))} is already that of {key.format(first)}"
