"""Delays, from one joint that moved and what a camera saw of it.

Two frames differ by as much as the joint moved between them. So what the camera saw is compared with what the joint
did `delay` earlier, for every delay; at the right one they correlate best. The movement is known at any time, so the
answer is finer than a frame. How late the joint follows its setpoint is found in the same way.

The encoder sits before the gears: behind their play the link turns round later, which would pass for a delay of the
camera. So the play is looked for too, and what is compared is the link's movement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import EdgeError

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

EARLIEST_S, LATEST_S = -0.1, 0.6
"""Delays that are looked for."""
GRID_S = 0.002
PLAYS_RAD = np.arange(0.0, 0.0125, 0.0005)
"""Plays that are looked for, from one flank of the gears to the other."""
PARTS = 4
"""The measurement is cut into so many parts; how far they disagree is its residual."""
LEAST_CORRELATION = 0.9
LEAST_SAMPLES = 40


@dataclass(frozen=True)
class Delay:
    """The best delay, the standard deviation over the parts of the measurement, and the correlation there."""

    delay_s: float
    spread_s: float
    correlation: float


def camera_delay(t_ns: Times, measured_rad: Floats, stamp_ns: Times, change: Floats) -> Delay:
    """By how much the stamps are later than what the frames show.

    The joint was at `measured_rad` [n] at `t_ns` [n]; frame k, stamped `stamp_ns[k]` [m], differs from the one before
    by `change[k]` [m], in any unit. Raises `EdgeError` where the camera did not see the joint move.
    """
    if len(stamp_ns) < LEAST_SAMPLES:
        raise EdgeError(f"the camera delivered {len(stamp_ns)} frames while the joint moved: at least {LEAST_SAMPLES}")
    t, stamp = (t_ns - t_ns[0]) * 1e-9, (stamp_ns - t_ns[0]) * 1e-9

    def behind(play_rad: float) -> _Compare:
        link_rad = _behind_play(measured_rad, play_rad)

        def expected(delay_s: float, rows: slice) -> tuple[Floats, Floats]:
            return np.abs(np.diff(np.interp(stamp[rows] - delay_s, t, link_rad))), change[rows][1:]

        return expected

    everything = slice(0, len(stamp))
    best = max(map(behind, PLAYS_RAD.tolist()), key=lambda one: _best(one, everything, _ALL)[1])
    return _search(best, len(stamp), "the camera hardly sees this joint move: take another one, or more light")


def actuator_delay(t_ns: Times, commanded_rad: Floats, measured_rad: Floats) -> Delay:
    """By how much the joint follows its setpoint [n] later. Raises `EdgeError` where it does not follow."""
    t = (t_ns - t_ns[0]) * 1e-9

    def expected(delay_s: float, rows: slice) -> tuple[Floats, Floats]:
        return np.interp(t[rows] - delay_s, t, commanded_rad), measured_rad[rows]

    return _search(expected, len(t), "the joint does not follow its setpoints: is something in its way?")


_Compare = Callable[[float, slice], tuple[Floats, Floats]]
"""What is expected at a delay, and what was seen, for some of the samples."""
_ALL = np.arange(EARLIEST_S, LATEST_S, GRID_S)


def _behind_play(shaft_rad: Floats, play_rad: float) -> Floats:
    """Where a link is that its shaft drives through a play: it stays until a flank takes it along."""
    link_rad = np.empty_like(shaft_rad)
    at = float(shaft_rad[0])
    for index, shaft in enumerate(shaft_rad.tolist()):
        at = min(max(at, shaft - play_rad / 2), shaft + play_rad / 2)
        link_rad[index] = at
    return link_rad


def _search(expected: _Compare, n: int, otherwise: str) -> Delay:
    """The delay at which what is expected and what was seen correlate best, of all [n] samples and of each part."""
    delay_s, correlation = _best(expected, slice(0, n), _ALL)
    if not correlation >= LEAST_CORRELATION:
        raise EdgeError(f"{otherwise} (correlation {correlation:.2f}, at least {LEAST_CORRELATION})")
    near = delay_s + np.arange(-0.1, 0.1, GRID_S)
    edges = np.linspace(0, n, PARTS + 1).astype(int)
    parts = [_best(expected, slice(a, b), near)[0] for a, b in pairwise(edges)]
    return Delay(delay_s, float(np.std(parts)), correlation)


def _best(expected: _Compare, rows: slice, delays_s: Floats) -> tuple[float, float]:
    """Delay and correlation at the top of the parabola through the best delay of the grid and its neighbours."""
    scores = np.array([_correlation(*expected(float(delay), rows)) for delay in delays_s])
    k = int(np.clip(np.argmax(scores), 1, len(scores) - 2))
    before, here, after = scores[k - 1 : k + 2]
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(delays_s[k] + np.clip(shift, -1.0, 1.0) * GRID_S), float(here)


def _correlation(a: Floats, b: Floats) -> float:
    """Pearson's; 0 where one of them does not change."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0
