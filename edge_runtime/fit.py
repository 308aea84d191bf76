"""Whether this robot can serve this policy, asked before anything moves: each misfit is one line."""

from __future__ import annotations

import math
import re

import numpy as np

from edge_runtime.bundle_spec import PolicySpec, VectorSpec
from edge_runtime.config import Robot
from edge_runtime.errors import BundleError, ConfigError
from edge_runtime.limits import Floats
from edge_runtime.suggest import did_you_mean

_UNNAMED = re.compile(r"(state|action)\.\d+")
"""What export calls a dimension whose checkpoint names none."""
_RAD = {"rad": 1.0, "deg": math.pi / 180.0}


def check_fit(robot: Robot, spec: PolicySpec) -> None:
    """Raise `ConfigError` or `BundleError` where a camera, a joint or the control mode of `spec` is not the robot's."""
    _cameras(robot, spec)
    _seam(robot, spec)
    if spec.pose is not None:
        _kinematics(robot)
        return
    if spec.control_mode != "absolute":
        raise BundleError(
            f"{robot.policy.bundle}: its actions are {spec.control_mode}, in a convention that it does not say: "
            "export it again, telling whose it is (docs/kinematics.md)"
        )
    for what, vector in (("state", spec.state), ("action", spec.action)):
        if vector.dims:
            _joints(robot, what, vector)


def units_rad(robot: Robot, vector: VectorSpec) -> Floats:
    """Radians in one unit of each dimension [n]; where the bundle does not say, the unit is the joint's own."""
    if not vector.dims:
        return np.zeros(0)
    joints = zip(vector.units, robot.joints, strict=True)
    return np.array([_RAD[unit] if unit else joint.scale_rad for unit, joint in joints])


def _cameras(robot: Robot, spec: PolicySpec) -> None:
    have = {camera.name: camera for camera in robot.cameras}
    want = {camera.name: camera for camera in spec.cameras}
    for index, camera in enumerate(robot.cameras):
        if camera.name not in want:
            raise ConfigError(
                f"cameras[{index}].name: the policy has no camera {camera.name}{did_you_mean(camera.name, want)}"
            )
        slot = want[camera.name]
        if (camera.width, camera.height) != (slot.width, slot.height):
            raise ConfigError(
                f"cameras[{index}]: {camera.name} is {camera.width}x{camera.height}, the policy takes "
                f"{slot.width}x{slot.height}: set width and height, or export with "
                f"--camera {camera.name}={camera.height}x{camera.width}"
            )
    for name, slot in want.items():
        if name not in have and slot.missing == "refuse":
            raise ConfigError(f"cameras: the policy needs a camera {name}, the robot has {', '.join(have)}")


def _seam(robot: Robot, spec: PolicySpec) -> None:
    """Whether chunks say something of the same moments that can be compared."""
    seam = robot.motion.seam
    if seam == "ensemble" and spec.control_mode != "absolute":
        raise ConfigError(
            f'motion.seam: "ensemble" takes the mean of positions, and the actions of {robot.policy.bundle} are '
            f'{spec.control_mode}: set it to "blend"'
        )
    if seam in ("committed", "guided") and spec.pose is not None:
        raise ConfigError(
            f'motion.seam: "{seam}" is for actions that are joint positions, and those of {robot.policy.bundle} are '
            'poses: set it to "blend"'
        )


def _kinematics(robot: Robot) -> None:
    """Whether the arm's shape is known at all; `pose_space` sees whether the URDF is the robot's."""
    if not robot.kinematics.urdf:
        raise ConfigError(
            f"kinematics: is missing, and {robot.policy.bundle} acts in end-effector space: "
            "say urdf, tip and gripper (docs/kinematics.md)"
        )


def _joints(robot: Robot, what: str, vector: VectorSpec) -> None:
    names = robot.joint_names
    if vector.dims != len(names):
        raise BundleError(
            f"{robot.policy.bundle}: {what} of {vector.dims} dimensions, the robot has {len(names)} joints"
        )
    for index, (asked, unit) in enumerate(zip(vector.names, vector.units, strict=True)):
        bare = asked.removesuffix(".pos")
        if not _UNNAMED.fullmatch(asked) and bare not in (names[index], robot.joints[index].name):
            raise BundleError(
                f"{robot.policy.bundle}: {what} {index} is {asked}, joint {index} of the robot is {names[index]}: "
                f"list the joints in the policy's order"
            )
        if unit and unit not in _RAD:
            raise BundleError(f"{robot.policy.bundle}: {what} {asked} is in {unit}, joints are in {' or '.join(_RAD)}")
