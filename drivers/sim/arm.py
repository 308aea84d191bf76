"""The simulated arm's geometry: five joints and a gripper, forward kinematics, closed-form inverse kinematics.

Shaped like an SO-101 (pan, three pitch joints in the pan's plane, wrist roll, gripper), scaled to a comfortable reach.
Robot frame: x forward, y left, z up from the table, metres. Angles in radians. A pitch is measured from straight up,
positive forward: the upper arm's is `shoulder_lift`, the forearm's adds `elbow_flex`, the tool's adds `wrist_flex`,
so a tool that points straight down has pitch pi.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
SHOULDER_RADIUS_M, SHOULDER_HEIGHT_M = 0.03, 0.14
UPPER_M, FOREARM_M, TOOL_M = 0.20, 0.20, 0.10
"""Lengths: shoulder to elbow, elbow to wrist, wrist to grip point (the middle of the finger pads)."""
LOW_RAD = np.array([-1.6, -1.2, 0.3, -0.6, -1.6, 0.0])
HIGH_RAD = np.array([1.6, 1.5, 2.7, 2.4, 1.6, 1.1])
HALF_GAP_M_PER_RAD = 0.045
"""Each finger's way per radian of the gripper joint: 1 rad is open by 9 cm."""


@dataclass(frozen=True)
class Pose:
    """Where the arm is: joint centres and the tool's axes, robot frame, each float64[3]."""

    shoulder: Floats
    elbow: Floats
    wrist: Floats
    tip: Floats
    """The grip point."""
    approach: Floats
    """Unit vector from the wrist to the grip point."""
    finger: Floats
    """Unit vector along which the fingers open."""
    side: Floats
    """Unit vector across the finger pads: approach x finger."""
    tangent: Floats
    """Unit vector normal to the pan's plane."""


def forward(q: Floats) -> Pose:
    """The arm's pose at joint angles `q` [>=5]."""
    pan, lift, elbow, flex, roll = (float(a) for a in q[:5])
    radial = np.array([math.cos(pan), math.sin(pan), 0.0])
    tangent = np.array([-math.sin(pan), math.cos(pan), 0.0])
    up = np.array([0.0, 0.0, 1.0])

    def along(pitch: float) -> Floats:
        return math.sin(pitch) * radial + math.cos(pitch) * up

    shoulder = SHOULDER_RADIUS_M * radial + SHOULDER_HEIGHT_M * up
    elbow_at = shoulder + UPPER_M * along(lift)
    wrist = elbow_at + FOREARM_M * along(lift + elbow)
    approach = along(lift + elbow + flex)
    across = np.cross(approach, tangent)
    finger = math.cos(roll) * tangent + math.sin(roll) * across
    side = math.cos(roll) * across - math.sin(roll) * tangent
    return Pose(shoulder, elbow_at, wrist, wrist + TOOL_M * approach, approach, finger, side, tangent)


def tip_position(q: Floats) -> Floats:
    """Grip point [..., 3] at joint angles `q` [..., >=4], over any leading axes."""
    lift, forearm = q[..., 1], q[..., 1] + q[..., 2]
    tool = forearm + q[..., 3]
    radius = SHOULDER_RADIUS_M + UPPER_M * np.sin(lift) + FOREARM_M * np.sin(forearm) + TOOL_M * np.sin(tool)
    height = SHOULDER_HEIGHT_M + UPPER_M * np.cos(lift) + FOREARM_M * np.cos(forearm) + TOOL_M * np.cos(tool)
    return np.stack([radius * np.cos(q[..., 0]), radius * np.sin(q[..., 0]), height], axis=-1)


def top_down(position: Floats) -> Floats:
    """Joint angles [5] that bring the grip point to `position` [3] with the tool straight down and no wrist roll.

    Raises ValueError where the arm cannot reach (elbow-up branch; law of cosines on shoulder, elbow, wrist).
    """
    x, y, z = (float(c) for c in position)
    radius, height = math.hypot(x, y) - SHOULDER_RADIUS_M, z + TOOL_M - SHOULDER_HEIGHT_M
    cos_elbow = (radius**2 + height**2 - UPPER_M**2 - FOREARM_M**2) / (2 * UPPER_M * FOREARM_M)
    if not -1.0 <= cos_elbow <= 1.0:
        raise ValueError(f"the arm cannot reach ({x:.3f}, {y:.3f}, {z:.3f}) m with its tool straight down")
    elbow = math.acos(cos_elbow)
    lift = math.atan2(radius, height) - math.atan2(FOREARM_M * math.sin(elbow), UPPER_M + FOREARM_M * math.cos(elbow))
    return np.array([math.atan2(y, x), lift, elbow, math.pi - lift - elbow, 0.0])
