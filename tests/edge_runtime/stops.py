"""The quickest stop found by halving and sampled, to hold `Brake` and `Guard` to: slow, and written another way."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Stop(NamedTuple):
    """Seconds, and positions relative to where it begins."""

    duration: float
    end: float
    lowest: float
    highest: float


def quickest_stop(v: float, a: float, acceleration: float, jerk: float) -> Stop:
    """The quicker of the two stops whose acceleration goes to -b or to b first, wherever it exists."""
    found = [_stop(v, a, acceleration, jerk)]
    mirrored = _stop(-v, -a, acceleration, jerk)
    if mirrored is not None:
        found.append(Stop(mirrored.duration, -mirrored.end, -mirrored.highest, -mirrored.lowest))
    return min(stop for stop in found if stop is not None)


def _stop(v: float, a: float, acceleration: float, jerk: float) -> Stop | None:
    """Down to -b, along it, and back to zero; None where even the smallest b stops the joint and more."""

    def left(b: float) -> float:
        down, back = (a + b) / jerk, b / jerk
        return v + 0.5 * (a - b) * down - 0.5 * b * back

    low, high = max(0.0, -a), max(acceleration, -a)
    if left(low) < -1e-12 * (abs(v) + a * a / jerk):
        return None
    along = max(left(high), 0.0) / high
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if left(middle) > 0.0 else (low, middle)
    return _travelled(v, a, [(-jerk, (a + high) / jerk), (0.0, along), (jerk, high / jerk)])


def _travelled(v: float, a: float, pieces: list[tuple[float, float]]) -> Stop:
    p, path = 0.0, [np.zeros(1)]
    for jerk, duration in pieces:
        t = np.linspace(0.0, duration, 2001)
        path.append(p + v * t + a * t**2 / 2 + jerk * t**3 / 6)
        p, v, a = path[-1][-1], v + a * duration + jerk * duration**2 / 2, a + jerk * duration
    whole = np.concatenate(path)
    return Stop(sum(duration for _, duration in pieces), float(p), float(whole.min()), float(whole.max()))
