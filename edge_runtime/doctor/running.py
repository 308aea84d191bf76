"""A robot that runs holds its ports and cameras: it is asked through its control socket instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_runtime.config import Robot
from edge_runtime.control_socket import send
from edge_runtime.doctor.check import Check
from edge_runtime.errors import CommandError

_ANSWER_S = 3.0


def status(robot: Robot) -> dict[str, Any] | None:
    """What the running robot says; None where none runs. One that runs and does not answer says "error"."""
    path = Path(robot.control.socket)
    try:
        return send(path, {"cmd": "status"}, _ANSWER_S)
    except CommandError as error:
        return None if "no robot is running" in str(error) else {"error": str(error)}


def check(said: dict[str, Any]) -> Iterator[Check]:
    """The robot's own figures in place of those that would have been measured."""
    if "error" in said:
        yield Check("running", "warn", f"a robot runs here: {said['error']}", "stop it, then ask again")
        return
    state = str(said.get("state", "unknown"))
    found = f"a robot runs here ({state}): its motors and cameras were not opened"
    yield Check("running", "warn", found, "stop it for the full examination")
    missed, ticks = said.get("missed", 0), said.get("ticks", 0)
    yield Check("ticks", "warn" if missed else "ok", f"{missed} of {ticks} missed")
    yield from _joints(said.get("joints") or {})


def _joints(joints: dict[str, dict[str, Any]]) -> Iterator[Check]:
    for name, joint in joints.items():
        figures = [f"{joint[key]:g} {unit}" for key, unit in _FIGURES.items() if joint.get(key)]
        with suppress(TypeError, ValueError):
            yield Check(name, "ok" if figures else "unknown", ", ".join(figures) or "no figures")


_FIGURES = {"voltage_v": "V", "temperature_c": "°C", "current_a": "A"}
