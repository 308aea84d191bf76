"""Which of our GPU backends run on this machine, and why the others do not."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.gpu import child
from benchmarks.gpu.at_once import BACKENDS, TITLES, tried
from benchmarks.gpu.budget import Budget

LIMIT_S = 120.0


def section(budget: Budget) -> dict[str, Any]:
    """By backend whether it `ran`, and why not: each loads and runs one small graph in a process of its own."""
    return {name: one(name, budget) for name in BACKENDS}


def one(name: str, budget: Budget) -> dict[str, Any]:
    try:
        return {
            "ran": True,
            "why": "",
            "title": TITLES[name],
            **child.run(attempt, name, limit_s=budget.at_most(LIMIT_S)),
        }
    except child.Failed as error:
        return {"ran": False, "why": str(error), "title": TITLES[name]}


def attempt(name: str) -> dict[str, Any]:
    """Load and run one small graph; which version did. Raises `EdgeError` where that fails."""
    with tempfile.TemporaryDirectory() as folder:
        tried(name, Path(folder))
    return {"version": _version(name)}


def _version(name: str) -> str:
    if name == "ort_cuda":
        import onnxruntime

        return str(onnxruntime.__version__)
    from edge_runtime.engines.api import load_api

    return load_api(name).version
