"""Replays: warm-up, then each with inputs written anew; and what is told of their times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WARM_UP = 20
"""Replays before the first that counts: clocks rise, caches fill."""
DIFFERENT = 4
"""Observations that replays take in turn."""


def summary(milliseconds: Sequence[float]) -> dict[str, float]:
    """Count, and the figures in ms. p50 and p99 are times that were measured, the next higher ones."""
    values = np.asarray(milliseconds, np.float64)
    low, high = (float(np.quantile(values, q, method="higher")) for q in (0.5, 0.99))
    found = {"min": float(values.min()), "p50": low, "p99": high, "max": float(values.max())}
    return {"replays": len(values), **{name: round(value, 4) for name, value in found.items()}}
