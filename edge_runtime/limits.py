"""What the joints of one robot may do, as arrays in joint order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_runtime.config import Robot

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """One value a joint: rad, rad/s, rad/s², rad/s³."""

    names: tuple[str, ...]
    lower: Floats
    upper: Floats
    velocity: Floats
    acceleration: Floats
    jerk: Floats

    @classmethod
    def of(cls, robot: Robot) -> Limits:
        """The limits that robot.toml sets."""
        joints = robot.joints
        return cls(
            names=robot.joint_names,
            lower=np.array([j.position_rad[0] for j in joints]),
            upper=np.array([j.position_rad[1] for j in joints]),
            velocity=np.array([j.velocity_rad_s for j in joints]),
            acceleration=np.array([j.acceleration_rad_s2 for j in joints]),
            jerk=np.array([j.jerk_rad_s3 for j in joints]),
        )


def stepwise_joints(robot: Robot) -> NDArray[np.bool_] | None:
    """[n] which joints go from action to action in steps; None where none does."""
    found = np.array([joint.stepwise for joint in robot.joints])
    return found if found.any() else None
