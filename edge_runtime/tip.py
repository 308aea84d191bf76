"""Where an arm's joints bring its tip: position only, in plain floats, quick enough to be asked many times a tick.

Each joint's frame is turned so that it rotates about its own z. From one joint to the next leads a fixed rotation and a
way; the tip is found from the hand to the root, turning a point about z and placing it in the frame before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edge_runtime.limits import Floats
from edge_runtime.urdf import UrdfJoint, Vector


class Tip:
    """The tip of a chain of joints (`urdf.chain`), n of which turn. Metres in the frame of the chain's root."""

    def __init__(self, joints: Sequence[UrdfJoint]) -> None:
        self._links, self._end = _links(joints)
        self.arms_m = tuple(_arms(self._links, self._end))
        """[n]: how far from each joint's axis the tip can be at most."""

    def at(self, q_rad: Sequence[float]) -> Vector:
        """Where joint angles [n], root first, bring the tip."""
        x, y, z = self._end
        for q, link in zip(reversed(q_rad), self._links, strict=True):
            r00, r01, r02, px, r10, r11, r12, py, r20, r21, r22, pz = link
            c, s = math.cos(q), math.sin(q)
            x, y = c * x - s * y, s * x + c * y
            x, y, z = (
                r00 * x + r01 * y + r02 * z + px,
                r10 * x + r11 * y + r12 * z + py,
                r20 * x + r21 * y + r22 * z + pz,
            )
        return x, y, z


def _links(joints: Sequence[UrdfJoint]) -> tuple[tuple[tuple[float, ...], ...], Vector]:
    """From the last turning joint to the first: the rows of rotation and way from the frame before to the joint's.

    And where the tip is in the last joint's frame.
    """
    links, rotation, way = [], np.eye(3), np.zeros(3)
    for joint in joints:
        way = way + rotation @ np.array(joint.xyz)
        rotation = rotation @ _rpy(*joint.rpy)
        if joint.axis is not None:
            turned = _to_axis(joint.axis)
            links.append(tuple(np.column_stack([rotation @ turned, way]).ravel().tolist()))
            rotation, way = turned.T, np.zeros(3)
    x, y, z = way.tolist()
    return tuple(reversed(links)), (x, y, z)


def _arms(links: Sequence[tuple[float, ...]], end: Vector) -> list[float]:
    """The distance of what comes next from the axis, and from there on every way at its full length."""
    arms, beyond, (x, y, z) = [], 0.0, end
    for link in links:
        arms.append(math.hypot(x, y) + beyond)
        beyond += math.hypot(x, y, z)
        x, y, z = link[3], link[7], link[11]
    return arms[::-1]


def _rpy(roll: float, pitch: float, yaw: float) -> Floats:
    """About fixed x, then y, then z (https://wiki.ros.org/urdf/XML/joint)."""
    about_x, about_y, about_z = (_about(k, angle) for k, angle in enumerate((roll, pitch, yaw)))
    return about_z @ about_y @ about_x


def _about(k: int, angle: float) -> Floats:
    """The rotation [3, 3] about the axis number `k`."""
    made, (i, j) = np.eye(3), ((k + 1) % 3, (k + 2) % 3)
    made[i, i] = made[j, j] = math.cos(angle)
    made[j, i] = math.sin(angle)
    made[i, j] = -made[j, i]
    return made


def _to_axis(axis: Vector) -> Floats:
    """A rotation [3, 3] that brings z to the unit vector `axis`."""
    x, y, z = axis
    return _about(2, math.atan2(y, x)) @ _about(1, math.atan2(math.hypot(x, y), z))
