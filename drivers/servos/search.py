"""Who is on a line of servos: every motor that is expected, or one line about what is there instead."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from drivers.errors import Timeout
from drivers.motors.base import BusSettings
from drivers.servos.line import Line, Question
from drivers.tries import TRY_NS, retry

_USUAL_BAUD = 1_000_000


def find_all(line: Line, everyone: Question, settings: BusSettings, bauds: Sequence[int], deadline_ns: int) -> None:
    """Ping every motor; raise `Timeout` that names all that are missing, or a speed of `bauds` at which they answer."""
    where = f"bus {settings.name} on {settings.port}"
    if not any(line.anyone(everyone, _within(deadline_ns)) for _ in range(2)):
        raise Timeout(f"{where}: {_nobody(line, everyone, settings.baud, bauds, deadline_ns)}")
    missing = []
    for motor in settings.motors:
        try:
            retry(partial(line.ping, motor.id), deadline_ns)
        except Timeout:
            missing.append(f"joint '{motor.name}' (id {motor.id})")
    if missing:
        raise Timeout(f"{where}: no answer from {', '.join(missing)}: check power, cable and id")


def _nobody(line: Line, everyone: Question, baud: int, bauds: Sequence[int], deadline_ns: int) -> str:
    """Ask at the other line speeds, and say what that tells."""
    asked = 0
    for other in sorted(bauds, key=lambda rate: abs(rate - _USUAL_BAUD)):
        if other != baud and time.monotonic_ns() < deadline_ns:
            if line.anyone_at(other, everyone, _within(deadline_ns)):
                return f"no motor answers at {baud} bit/s, but one does at {other}: correct baud, here or in the motors"
            asked += 1
    speeds = f"{baud} bit/s or {asked} other speeds" if asked else f"{baud} bit/s"
    return (
        f"no motor answers at {speeds} though the port is there: "
        f"is their supply on, is this their port, are these their ids?"
    )


def _within(deadline_ns: int) -> int:
    """One try, which is enough for an answer at 9600 bit/s too: 30 ms."""
    return min(deadline_ns, time.monotonic_ns() + TRY_NS)
