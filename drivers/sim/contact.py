"""Fingers against cups, seen from above: a finger is a rectangle, a cup a disc, both with a height.

A finger that reaches below a cup's rim and into its disc touches it. Contact normals are geometry: straight out of a
pad's face, or from a pad's edge towards the cup's axis. Two touching pads hold a cup when both normals lie in the
friction cone about the line between the fingers; anything else pushes the cup along the normals, or topples it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PAD_HALF_WIDTH_M, FINGER_THICKNESS_M = 0.010, 0.008
PAD_HALF_HEIGHT_M = 0.0125
"""The finger's lower end is this far below the grip point, its pad's upper end as far above."""
FRICTION = 0.5
RIM_OVERLAP_M = 0.012
"""A pad must reach this far below the rim to grip."""
LANDING_M = FINGER_THICKNESS_M
"""Fingertips are wedges: one slides down a rim's outside unless its whole thickness comes down within the disc."""


@dataclass(frozen=True)
class Touch:
    """A finger in a disc: how deep [m], and the unit normal (along finger axis, across it) that pushes the disc out."""

    depth: float
    along: float
    across: float


def touch(along: float, across: float, inner: float, radius: float) -> Touch | None:
    """Contact of a disc of `radius` centred at (along, across) with the finger whose face is at +`inner`.

    Finger frame: `along` the opening direction from the middle of the grip towards this finger, `across` its width.
    The finger fills inner..inner+thickness by -half..+half width. None where they do not meet.
    """
    low, high = inner, inner + FINGER_THICKNESS_M
    near_along = min(max(along, low), high)
    near_across = min(max(across, -PAD_HALF_WIDTH_M), PAD_HALF_WIDTH_M)
    du, dv = along - near_along, across - near_across
    distance = math.hypot(du, dv)
    if distance >= radius:
        return None
    if distance > 1e-9:
        return Touch(radius - distance, du / distance, dv / distance)
    if along < inner + FINGER_THICKNESS_M / 2:  # the axis is inside the finger: out by the nearer face
        return Touch(radius + along - low, -1.0, 0.0)
    return Touch(radius + high - along, 1.0, 0.0)


def in_cone(contact: Touch) -> bool:
    """Whether the contact's normal points from the finger to the other one, within the friction cone."""
    return contact.along < 0.0 and abs(contact.across) <= FRICTION * -contact.along
