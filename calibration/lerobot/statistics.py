"""Statistics of a LeRobotDataset as LeRobot's trainers normalise by: of an episode, and of all from those of each.

huggingface/lerobot 0.4.4, src/lerobot/datasets/compute_stats.py: which there are, their shapes, how many frames of a
video they are of, and that quantiles of all episodes are the mean of the episodes' own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.datasets.base import Frame

Values = NDArray[np.float64]
Statistics = Mapping[str, Values]

_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_FRAMES = (100, 10_000)
"""The least and the most frames of an episode, `length`^0.75 between them."""
_SIDE = 150
"""What the longer side of a frame is thinned to, where it has 300 or more."""


def of_rows(rows: NDArray[np.generic]) -> dict[str, Values]:
    """Of each dimension of `rows` [T, dims] or [T]."""
    values = np.asarray(rows, np.float64).reshape(len(rows), -1)
    found = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    quantiles = np.quantile(values, list(_QUANTILES.values()), axis=0)
    return {**found, "count": np.array([float(len(rows))]), **dict(zip(_QUANTILES, quantiles, strict=True))}


def of_frames(sample: Sequence[Frame]) -> dict[str, Values]:
    """Of each colour, 0 to 1, [3, 1, 1]; `sample` is what `thinned` made."""
    found = of_rows(np.concatenate([frame.reshape(-1, 3) for frame in sample]))
    scaled = {name: value.reshape(3, 1, 1) / 255.0 for name, value in found.items() if name != "count"}
    return {**scaled, "count": np.array([float(len(sample))])}


def sampled(length: int) -> set[int]:
    """Which frames of an episode of `length` statistics are made of."""
    count = min(length, max(_FRAMES[0], min(int(length**0.75), _FRAMES[1])))
    return set(np.round(np.linspace(0, length - 1, count)).astype(int).tolist())


def thinned(frame: Frame) -> Frame:
    """Every n-th pixel of every n-th row."""
    longer = max(frame.shape[:2])
    step = 1 if longer < 2 * _SIDE else longer // _SIDE
    return np.ascontiguousarray(frame[::step, ::step])


def of_all(episodes: Sequence[Statistics]) -> dict[str, Values]:
    """Of one feature over all episodes: means and variances put together by how many each is of."""
    count = np.stack([one["count"] for one in episodes])
    weight = (count / count.sum()).reshape(-1, *[1] * episodes[0]["mean"].ndim)

    def mean(values: Sequence[Values]) -> Values:
        return np.asarray((np.stack(values) * weight).sum(0))

    found = {name: mean([one[name] for one in episodes]) for name in ("mean", *_QUANTILES)}
    variance = mean([one["std"] ** 2 + (one["mean"] - found["mean"]) ** 2 for one in episodes])
    found["min"] = np.stack([one["min"] for one in episodes]).min(0)
    found["max"] = np.stack([one["max"] for one in episodes]).max(0)
    return {**found, "std": np.sqrt(variance), "count": count.sum(0)}
