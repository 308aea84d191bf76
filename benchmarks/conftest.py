"""Yardsticks: what this machine does in pure Python and in one matrix product, timed in the same run as the stages."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

Time = Callable[..., None]


@pytest.fixture
def stage(benchmark: Any) -> Time:
    """`stage("control.setpoint", work)`: time `work` under the name that benchmarks/budgets.toml has a row for."""

    def time(name: str, work: Callable[[], Any], rounds: int = 1000) -> None:
        benchmark.extra_info["stage"] = name
        benchmark.pedantic(work, rounds=rounds, warmup_rounds=20, iterations=1)

    return time


@pytest.fixture(scope="session")
def bundle() -> Path:
    """The demo's bundle, made of the checkpoint in this checkout where it is not there."""
    from benchmarks.demo.bundle import demo_bundle

    return demo_bundle(Path("runs/demo/bundle"))
