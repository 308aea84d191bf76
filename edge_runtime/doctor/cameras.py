"""The cameras, each opened in its mode and watched for a moment, as `edge cameras` does."""

from __future__ import annotations

from collections.abc import Iterator

from edge_runtime.config import Robot
from edge_runtime.doctor import calibration
from edge_runtime.doctor.check import Check
from edge_runtime.look import Look, look

LOOK_S = 1.0
_SLOW, _TOO_SLOW = 0.95, 0.8
"""Shares of the rate that robot.toml asks for."""
_GOOD = ("frames", "stamped by device")
"""What is counted and is no fault."""


def check(robot: Robot) -> Iterator[Check]:
    """A line for each camera, and one for each that works and was calibrated."""
    for seen in look(robot.cameras, LOOK_S):
        yield judge(seen)
        known = calibration.camera(robot, seen.camera) if not seen.error else None
        if known is not None:
            yield known


def judge(seen: Look) -> Check:
    """How a camera did."""
    camera = seen.camera
    name = f"camera {camera.name}"
    if seen.error:
        return Check(name, "bad", seen.error)
    asked = f"{camera.width}x{camera.height} at {camera.fps:g}"
    lost = ", ".join(f"{count} {what}" for what, count in seen.counts.items() if count and what not in _GOOD)
    stamp = "by itself" if seen.stamp == "device" else "by us as they come"
    found = f"{asked} asked, {seen.rate_hz:.1f} frames a second, stamped {stamp}" + (f", {lost}" if lost else "")
    if seen.rate_hz < _TOO_SLOW * camera.fps:
        return Check(
            name, "bad", found, "more light (auto exposure lengthens frames), a USB port of its own, or less fps"
        )
    if seen.rate_hz < _SLOW * camera.fps or lost:
        return Check(name, "warn", found, "look at it for longer: edge cameras --seconds 10")
    return Check(name, "ok", found)
