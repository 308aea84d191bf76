"""Do two sides compute the same? Relative errors of their answers, before any of their times is compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray[Any, Any]]
TIMES_PYTORCH, LEAST, WITHOUT_REFERENCE = 2.0, 0.01, 0.05
"""Ours may be so many times as far from float32 as PyTorch's bfloat16 is, and always a hundredth; where there is no
float32, so far from PyTorch's bfloat16: both round differently, ten steps in a row."""


def agreement(ours: Arrays, pytorch: Arrays) -> dict[str, Any]:
    """|difference| / |reference| as norms; `pytorch` may have float32's answers under "exact_...".

    Actions are compared, of token policies the logits of the first token: random logits have no clear best one.
    """
    key = "logits" if "logits" in ours else "actions"
    if key not in pytorch:
        return {"ran": False, "why": "PyTorch gave no answers to compare with"}
    told: dict[str, Any] = {"ran": True, "why": "", "compared": key}
    told["ours_to_pytorch"] = error(ours[key], pytorch[key])
    if f"exact_{key}" in pytorch:
        exact = pytorch[f"exact_{key}"]
        own = told["pytorch_to_float32"] = error(pytorch[key], exact)
        found, limit = error(ours[key], exact), max(TIMES_PYTORCH * own, LEAST)
        told["ours_to_float32"] = found
    else:
        found, limit = told["ours_to_pytorch"], WITHOUT_REFERENCE
    if "tokens" in ours:
        told["tokens_same"] = float((ours["tokens"] == pytorch["tokens"]).mean())
    verdict = "pass" if found <= limit else "fail"
    return {name: _plain(value) for name, value in told.items()} | {"limit": _plain(limit), "verdict": verdict}


def _plain(value: Any) -> Any:
    """As JSON has it: no number stands for infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def error(found: Any, reference: Any) -> float:
    """Infinite where anything is not finite, and where the reference is nothing."""
    a, b = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    size = float(np.linalg.norm(b))
    if a.shape != b.shape or not np.isfinite(a).all() or not np.isfinite(b).all() or not size:
        return float("inf")
    return float(np.linalg.norm(a - b)) / size
