"""A robot's own steps, which come when the policy answers, on the even grid of times that a LeRobotDataset has.

The frames behind a chunk are old when it arrives, and until then the chunk before is followed. So each time of the grid
has the newest step whose frames were taken by then, and the action that was due then in the chunk that was followed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibration.datasets.base import Floats
from calibration.datasets.recording import Row
from edge_runtime.recording_spec import Description

_PAUSE_S = 1.0
"""A chunk that ran out so long before the next answer: the robot stood, because it was stopped or had no answer."""
_MOST_FRAMES = 10_000_000


class Grid(NamedTuple):
    """T times. `seen` and `followed` [T] are places of rows, `action` [T, dims] is what was due."""

    seen: NDArray[np.int64]
    followed: NDArray[np.int64]
    action: Floats


def unbroken(rows: Sequence[Row], chunk_s: float) -> Iterator[Sequence[Row]]:
    """The parts of an episode in which the robot did not stand still; `chunk_s` is how long a chunk lasts."""
    begin = 0
    for place in range(1, len(rows) + 1):
        if place == len(rows) or rows[place].t_ns - rows[place - 1].t_ns > (chunk_s + _PAUSE_S) * 1e9:
            yield rows[begin:place]
            begin = place


def resample(rows: Sequence[Row], description: Description, fps: int) -> Grid:
    """From the first answer to the last, `fps` times a second.

    Joint positions are interpolated between two actions of a chunk, as `Follow` does; a delta and a pose hold for their
    time. Behind the last action that one stands. Raises `ValueError` where times go backwards.
    """
    ready, taken = np.array([row.t_ns for row in rows]), np.array([row.capture_ns for row in rows])
    if (np.diff(ready) < 0).any() or (np.diff(taken) < 0).any() or (taken > ready).any():
        raise ValueError("its times go backwards")
    count = (int(ready[-1] - ready[0]) * fps) // 1_000_000_000 + 1
    if count > _MOST_FRAMES:
        raise ValueError(f"{count} frames, {_MOST_FRAMES} are possible")
    grid = ready[0] + np.arange(count) * 1_000_000_000 // fps
    followed = np.searchsorted(ready, grid, "right") - 1
    seen = np.searchsorted(taken, grid, "right") - 1
    at = (grid - taken[followed]) / (description.dt_s * 1e9)
    if description.pose or description.control_mode == "delta":
        at = np.floor(at)
    actions = [_between(rows[row].actions, position) for row, position in zip(followed, at, strict=True)]
    return Grid(seen, followed, np.stack(actions))


def _between(actions: Floats, position: float) -> Floats:
    """`actions` [horizon, dims] at a fractional place."""
    last = len(actions) - 1
    before = min(int(position), last)
    part = np.float32(min(position, last) - before)
    return np.asarray(actions[before] + part * (actions[min(before + 1, last)] - actions[before]), np.float32)
