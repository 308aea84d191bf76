"""How often and how long something is tried on a line of motors, outside the control loop."""

from __future__ import annotations

import time
from collections.abc import Callable

from drivers.errors import Disconnected, DriverError

TRY_NS = 100_000_000
"""Longest single try: three answers of an adapter that waits 16 ms, or a busy machine."""
TRIES = 3


def retry(action: Callable[[int], None], deadline_ns: int) -> None:
    """Try an action, which is given a deadline, up to `TRIES` times within this one; a port that is gone is gone."""
    for tries_left in range(TRIES - 1, -1, -1):
        try:
            action(min(deadline_ns, time.monotonic_ns() + TRY_NS))
            return
        except Disconnected:
            raise
        except DriverError:
            if not tries_left:
                raise
