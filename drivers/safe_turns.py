"""The order of a bus's safe action: every motor gets its tries and its share of the time, whatever others answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from drivers.errors import DriverError
from drivers.motors.base import MotorSettings
from drivers.tries import TRIES, TRY_NS


class Line(Protocol):
    """What the motors hang on."""

    @property
    def is_open(self) -> bool: ...

    def open(self) -> None: ...


def make_all_safe(
    line: Line, motors: Sequence[MotorSettings], make_safe: Callable[[int, int], None], deadline_ns: int
) -> None:
    """Call `make_safe(index, deadline_ns)` until every motor is safe or has had its tries: then its first error.

    The line is opened, no more, where `connect` has not: there one dead motor would keep the others from it.
    """
    if not line.is_open:
        line.open()
    # Those that let go come first: they need no answer to do it, and wait for nobody who gives none.
    waiting = sorted(range(len(motors)), key=lambda index: motors[index].safe == "hold")
    errors: dict[int, DriverError] = {}
    for tries_left in range(TRIES, 0, -1):
        turns = list(waiting)
        for turn, index in enumerate(turns):
            now_ns = time.monotonic_ns()
            share_ns = (deadline_ns - now_ns) // ((len(turns) - turn) * tries_left)
            try:
                make_safe(index, now_ns + min(TRY_NS, share_ns))
                waiting.remove(index)
            except DriverError as error:
                errors.setdefault(index, error)
    if waiting:
        raise errors[waiting[0]]
