"""How rough a takeover was, at three places on the way from plan to setpoint: rad and rad/s of the worst joint."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edge_runtime.limits import Floats
from edge_runtime.reference import Reference

ARM = slice(0, 5)
"""The joints that shake an arm; a gripper that closes a little sooner than planned shakes nothing."""


class Jump(NamedTuple):
    """Position, rad, and velocity, rad/s, each."""

    plan: tuple[float, float]
    """The new chunk less the old one, at the time of the takeover."""
    reference: tuple[float, float]
    """The same of what the motion asks for, the seam's work included."""
    setpoint: tuple[float, float]
    """What was emitted less where even motion would have led in that tick."""


Pair = tuple[Reference, Reference]


def jump(plans: Pair, references: Pair, setpoints: tuple[Floats, Floats], tick_s: float) -> Jump:
    """Of the tick in which a new chunk took over, with what was due in it by the old one and by the new one.

    `setpoints` [3, n] are position, velocity and acceleration as they were emitted in the tick before and in this one.
    """
    last, now = setpoints
    even = last[0] + tick_s * last[1]
    return Jump(_between(*plans), _between(*references), (_worst(now[0] - even), _worst(now[1] - last[1])))


def _between(old: Reference, new: Reference) -> tuple[float, float]:
    return _worst(new.position_rad - old.position_rad), _worst(new.velocity_rad_s - old.velocity_rad_s)


def _worst(difference: Floats) -> float:
    return float(np.max(np.abs(difference[ARM])))
