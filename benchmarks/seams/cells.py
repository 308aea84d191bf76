"""One cell of the benchmark: a seam and a delay, driven through many episodes, and its figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from benchmarks.demo.evaluate import SEEDS_FROM
from benchmarks.demo.statistics import wilson
from benchmarks.seams.episode import Drive, Outcome
from benchmarks.seams.seam import ARM, Jump
from edge_runtime import config
from edge_runtime.backends import ort
from edge_runtime.bundle import open_bundle
from edge_runtime.config import Motion, Robot
from edge_runtime.limits import Floats
from edge_runtime.policies.base import Seam
from edge_runtime.policies.flow import Runner

ROBOT = Path(__file__).parents[2] / "drivers/sim/robot.toml"
SEAMS: tuple[Seam, ...] = ("none", "blend", "ensemble", "committed", "guided")
DELAYS_MS = (0, 50, 100, 150, 200, 250, 300)


@dataclass(frozen=True)
class Cell:
    """`bundle` is the demo policy's."""

    bundle: Path
    seam: Seam
    delay_ms: int


def alone() -> None:
    """One core for this process."""
    cv2.setNumThreads(1)


def drive(index: int, cell: Cell) -> Outcome:
    """Episode `index` of a cell: the same layout, instruction and noise in each of them."""
    runner = _runner(cell.bundle, cell.seam)
    return Drive(_robot(cell.seam), runner, SEEDS_FROM + index, cell.delay_ms * 1_000_000).run()


@lru_cache(1)
def _runner(bundle: Path, seam: Seam) -> Runner:
    return Runner(open_bundle(bundle), ort.Engine(), seam=seam)


@lru_cache(1)
def _robot(seam: Seam) -> Robot:
    return msgspec.structs.replace(config.load(ROBOT, calibrated=False), motion=Motion(seam=seam))


def figures(cell: Cell, outcomes: list[Outcome]) -> dict[str, Any]:
    """What a cell's episodes say, for programs."""
    done = [o.lifted_s is not None for o in outcomes]
    grasps = [o.grasped_s for o in outcomes if o.grasped_s is not None]
    jerk = [np.array(o.jerk_rad_s3)[:, ARM] for o in outcomes if o.jerk_rad_s3]
    return {
        "seam": cell.seam,
        "delay_ms": cell.delay_ms,
        "episodes": len(outcomes),
        "successes": sum(done),
        "share": sum(done) / len(done),
        "interval": wilson(sum(done), len(done)),
        "succeeded": "".join(str(int(d)) for d in done),
        "grasped": len(grasps),
        "grasp_s": float(np.median(grasps)) if grasps else None,
        "takeovers": sum(len(o.jumps) for o in outcomes),
        "jump": _jumps([jump for o in outcomes for jump in o.jumps]),
        "jerk_rad_s3": {
            "rms": float(np.sqrt(np.mean(np.concatenate(jerk) ** 2))) if jerk else None,
            "peak": _spread(np.abs(j).max() for j in jerk),
        },
    }


def _jumps(jumps: list[Jump]) -> dict[str, Any]:
    """Where → unit → spread over the takeovers."""
    found = np.array(jumps).reshape(-1, len(Jump._fields), 2)
    return {
        place: {unit: _spread(found[:, i, j]) for j, unit in enumerate(("rad", "rad_s"))}
        for i, place in enumerate(Jump._fields)
    }


def _spread(values: Iterable[float]) -> dict[str, float] | None:
    found: Floats = np.fromiter(values, np.float64)
    if not found.size:
        return None
    return {"p50": float(np.median(found)), "p95": float(np.percentile(found, 95)), "max": float(found.max())}
