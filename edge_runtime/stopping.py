"""How a robot comes to rest, known before it moves: each joint's longest stop, and when the arm rests after silence."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_runtime.brake import longest_stop
from edge_runtime.config import Robot

TICKS = 4
"""From a deadline until the arm rests, besides the stop: deadline and end of COAST are noticed at the next tick, the
stop begins with the tick after that, and it is over at the tick behind its end."""


@dataclass(frozen=True)
class LongestStop:
    """The farthest and the longest that a stop takes one joint from any state within its limits."""

    joint: str
    way_rad: float
    duration_s: float


def longest_stops(robot: Robot) -> list[LongestStop]:
    """One a joint, in joint order."""
    return [
        LongestStop(name, *longest_stop(joint.velocity_rad_s, joint.acceleration_rad_s2, joint.jerk_rad_s3))
        for name, joint in zip(robot.joint_names, robot.joints, strict=True)
    ]


def rest_after_s(robot: Robot) -> dict[str, float]:
    """How long after the last of what falls silent the arm rests at most, by what that is.

    A camera or a policy leads through COAST to HOLD, a person's hand straight to HOLD.
    """
    late = robot.deadlines
    rest_s = max(stop.duration_s for stop in longest_stops(robot)) + TICKS / robot.control.rate_hz
    found = {
        "frame": (late.frame_age_ms + late.coast_ms) / 1e3 + rest_s,
        "chunk": (late.chunk_age_ms + late.coast_ms) / 1e3 + rest_s,
    }
    if robot.leader is not None or robot.gamepad is not None:
        found["hand"] = late.hand_age_ms / 1e3 + rest_s
    return found


FROM = {
    "frame": "its last frame: frame_age_ms, coast_ms, the longest stop",
    "chunk": "the frame behind the last chunk: chunk_age_ms, coast_ms, the longest stop",
    "hand": "its last reading: hand_age_ms, the longest stop",
}
SILENT = {"frame": "camera", "chunk": "policy", "hand": "hand"}


def words(robot: Robot) -> str:
    """Two tables for people. Ways and times are rounded up."""
    rows = [f"{'joint':16} stops within"]
    for stop in longest_stops(robot):
        rad, degrees = _up(stop.way_rad, 1000), _up(math.degrees(stop.way_rad), 10)
        rows.append(f"{stop.joint:16} {rad:.3f} rad ({degrees:.1f}°) in {_up(stop.duration_s, 100):.2f} s")
    rows.append(f"{'silent':16} the arm rests within")
    for what, seconds in rest_after_s(robot).items():
        rows.append(f"{SILENT[what]:16} {_up(seconds, 100):.2f} s of {FROM[what]}")
    return "\n".join(rows)


def _up(x: float, parts: int) -> float:
    """The next multiple of 1/`parts` above, but for what rounding adds."""
    return math.ceil(x * parts - 1e-6) / parts
