"""How much time there is: work that would not fit is left out, and said to be."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Budget:
    """`minutes` from now on; None: as long as it takes."""

    def __init__(self, minutes: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._minutes, self._clock = minutes, clock
        self._end = math.inf if minutes is None else clock() + 60.0 * minutes

    @property
    def left_s(self) -> float:
        return max(0.0, self._end - self._clock())

    def lacks(self, need_s: float) -> str:
        """Why work of about `need_s` seconds is left out; "" where there is time for it."""
        if need_s <= self.left_s:
            return ""
        return f"left out: takes about {need_s:.0f} s, and {self.left_s:.0f} s are left of {self._minutes:g} minutes"

    def at_most(self, limit_s: float) -> float:
        """The limit of work that may take `limit_s` seconds."""
        return min(limit_s, max(1.0, self.left_s))
