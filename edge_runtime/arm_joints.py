"""Which of the robot's joints are those of its URDF that move the tip."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.config import Robot
from edge_runtime.errors import ConfigError
from edge_runtime.suggest import did_you_mean
from edge_runtime.urdf import UrdfJoint, chain

ROUNDED_RAD = 2e-3
"""By how much robot.toml may go beyond the URDF: figures are rounded to a tenth of a degree."""
_ONE_ARM = "a policy in end-effector space, or a workspace, is for one arm and its gripper"


def arm_joints(robot: Robot) -> tuple[tuple[UrdfJoint, ...], tuple[int, ...]]:
    """The chain to the tip, root first, and of every joint that turns in it its place among the robot's joints.

    Raises `ConfigError`, one line, where robot.toml and the URDF do not fit together.
    """
    urdf, tip = Path(robot.kinematics.urdf), robot.kinematics.tip
    joints = chain(urdf, tip)
    return joints, tuple(_order(robot, urdf, tip, joints))


def _order(robot: Robot, urdf: Path, tip: str, joints: tuple[UrdfJoint, ...]) -> list[int]:
    """For each turning joint of the chain the robot's joint that it is."""
    names = robot.joint_names
    known: dict[str, int] = {}
    for i, joint in enumerate(robot.joints):
        first = known.setdefault(joint.urdf or joint.name, i)
        if first != i:
            raise ConfigError(f"{urdf}: {names[first]} and {names[i]} are one joint there; {_ONE_ARM}")
    turning = [joint for joint in joints if joint.axis is not None]
    moving = [joint.name for joint in turning]
    for name in (name for name in moving if name not in known):
        raise ConfigError(
            f"{urdf}: joint {name} moves {tip}, and no joint of the robot is it{did_you_mean(name, known)}: "
            'name it under that joint as urdf = "…"'
        )
    for name, i in known.items():
        grips = robot.joints[i].name == robot.kinematics.gripper
        if grips and name in moving:
            raise ConfigError(f"kinematics.gripper: {names[i]} moves {tip}, so it is no gripper")
        if not grips and name not in moving:
            raise ConfigError(f"{urdf}: joint {name} does not move {tip}{did_you_mean(name, moving)}; {_ONE_ARM}")
    for link in turning:
        _check_range(robot, urdf, known[link.name], link)
    return [known[joint.name] for joint in turning]


def _check_range(robot: Robot, urdf: Path, index: int, joint: UrdfJoint) -> None:
    low, high = robot.joints[index].position_rad
    if low < joint.lower - ROUNDED_RAD or high > joint.upper + ROUNDED_RAD:
        raise ConfigError(
            f"{urdf}: joint {joint.name} goes from {joint.lower:.4g} to {joint.upper:.4g} rad, position of "
            f"{robot.joint_names[index]} in robot.toml from {low:.4g} to {high:.4g}: narrow it"
        )
