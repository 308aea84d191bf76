"""How long something takes as a rule: a percentile of its last times, without the first ones."""

from __future__ import annotations

import math

KEPT = 64
"""Times that the estimate looks at."""
COLD = 2
"""Times at the beginning that say nothing: caches are cold and memory is paged in."""


class Delay:
    """One thread adds, the same one asks. Keeps a ring of times that is allocated once."""

    def __init__(self, share: float) -> None:
        """`share` of the times are no longer than the estimate: 0.5 is the median."""
        self._share = share
        self._times_ns = [0] * KEPT
        self._total = -COLD

    def add(self, time_ns: int) -> None:
        if self._total >= 0:
            self._times_ns[self._total % KEPT] = time_ns
        self._total += 1

    @property
    def estimate_ns(self) -> int:
        """The smallest time that is not exceeded by `share` of those that are kept; 0 before there are any."""
        count = min(self._total, KEPT)
        if count <= 0:
            return 0
        return sorted(self._times_ns[:count])[math.ceil(self._share * count) - 1]
