"""What was seen at the input of a layer while observations went through the model: as much as quantization needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
BINS = 2048
"""Of the histogram of magnitudes. The largest is always in the upper half of them, unless it is below `SMALLEST`."""
SMALLEST = float(2.0**-24)
"""Reach of an empty histogram. It only ever doubles, so that the order of what is seen changes nothing."""


class InputRange:
    """Magnitudes of a layer's input, per channel (the last axis) and all together.

    `largest` [width]: the largest magnitude. `mean_square` [width]. Both are zero before the first `add`.
    """

    def __init__(self, width: int) -> None:
        self.largest: Floats = np.zeros(width, np.float32)
        self.rows = 0
        self._square_sum = np.zeros(width, np.float64)
        self._counts = np.zeros(BINS, np.int64)
        self._top = SMALLEST

    @property
    def mean_square(self) -> Floats:
        return np.asarray(self._square_sum / max(1, self.rows), np.float32)

    def add(self, x: Floats) -> None:
        """Take `x` [..., width] into account; `ValueError` where it is not finite."""
        rows = np.abs(x.reshape(-1, len(self.largest)))
        top = float(rows.max(initial=0.0))
        if not np.isfinite(top):
            raise ValueError("a value is not finite")
        np.maximum(self.largest, rows.max(axis=0, initial=0.0), out=self.largest)
        self._square_sum += np.einsum("nw,nw->w", rows, rows, dtype=np.float64)
        self.rows += len(rows)
        self._grow(top)
        self._counts += np.histogram(rows, BINS, (0.0, self._top))[0]

    def _grow(self, top: float) -> None:
        """Double the histogram's reach until `top` is below it, two bins becoming one."""
        while top >= self._top:
            self._counts = np.concatenate([self._counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64)])
            self._top *= 2.0

    def maximum(self) -> float:
        """The largest magnitude of all."""
        return float(self.largest.max(initial=0.0))

    def percentile(self, percent: float) -> float:
        """The magnitude that `percent` of all values do not pass, to within a bin; never more than the largest."""
        total = int(self._counts.sum())
        if total == 0:
            return 0.0
        at = int(np.searchsorted(np.cumsum(self._counts), np.ceil(percent * total / 100.0)))
        return min(self.maximum(), (at + 1) * self._top / BINS)
