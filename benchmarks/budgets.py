"""Budgets: each stage's figures as multiples of a yardstick timed in the same run, held to the rows of budgets.toml."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.errors import EdgeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PERCENTILES = {"p50": 50.0, "p99": 99.0, "p99_9": 99.9, "max": 100.0}
FILE = Path(__file__).with_name("budgets.toml")

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """One stage beside its budget: multiples of its yardstick. `over` names the percentiles that are too high."""

    stage: str
    yardstick: str
    measured: Figures
    budget: Figures
    over: tuple[str, ...]


def device_class() -> str:
    """Which rows of budgets.toml are this machine's."""
    return f"cpu-{platform.machine()}"


def figures(seconds: list[float]) -> dict[str, float]:
    """Percentiles of some timings, s: measured values, the next higher one."""
    found = np.percentile(seconds, list(PERCENTILES.values()), method="higher")
    return dict(zip(PERCENTILES, found.tolist(), strict=True))


def load(device: str, path: Path = FILE) -> dict[str, dict[str, Any]]:
    """The rows of one device class. `EdgeError` where it has none, or a row lacks a figure."""
    rows: dict[str, dict[str, Any]] = tomllib.loads(path.read_text()).get(device, {})
    if not rows:
        raise EdgeError(f"{path}: no budgets for {device}: measure there and add a table [{device}]")
    for stage, row in rows.items():
        missing = [name for name in ("of", *PERCENTILES) if name not in row]
        if missing:
            raise EdgeError(f"{path}: {device}.{stage}: {', '.join(missing)} is missing")
    return rows


def judge(timings: Mapping[str, Figures], budgets: Mapping[str, Mapping[str, Any]]) -> Iterator[Row]:
    """Every stage beside its budget. `EdgeError` for a stage without a row, a row without a stage, or no yardstick.

    Micro stages are divided by the yardstick's median; lateness percentile by percentile by that of its floor.
    """
    yardsticks = {row["of"] for row in budgets.values()}
    for stage, row in budgets.items():
        if stage not in timings and row["of"] in timings:
            raise EdgeError(f"{FILE}: {stage} has a row and was not timed: remove the row or mend the benchmark")
    for stage, measured in timings.items():
        if stage in yardsticks:
            continue
        if stage not in budgets:
            raise EdgeError(f"{FILE}: stage {stage} has no row: a stage without a budget fails")
        row = budgets[stage]
        if row["of"] not in timings:
            raise EdgeError(f"{FILE}: {stage} is a multiple of {row['of']}, which was not timed")
        unit = timings[row["of"]]
        by_percentile = row["of"].startswith("floor.")
        ratios = {name: value / unit[name if by_percentile else "p50"] for name, value in measured.items()}
        limits = {name: float(row[name]) for name in PERCENTILES}
        over = tuple(name for name in PERCENTILES if ratios[name] > limits[name])
        yield Row(stage, row["of"], ratios, limits, over)
