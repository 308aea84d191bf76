"""How hard torch.compile tries: as hard as there is time for."""

from __future__ import annotations

from benchmarks.gpu.budget import Budget

QUICK, THOROUGH = "default", "max-autotune-no-cudagraphs"
"""Modes of torch.compile. CUDA graphs are ours to capture, over the whole inference and not piece by piece."""
_THOROUGH_S = 900.0


def chosen(budget: Budget) -> str:
    """The thorough mode times every matrix product in every way that it knows: minutes a model."""
    return QUICK if budget.lacks(_THOROUGH_S) else THOROUGH
