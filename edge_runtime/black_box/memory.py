"""How much memory a black box takes, before anything is allocated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from edge_runtime.black_box.rings import Rings
from edge_runtime.config import Robot

USUAL_ROWS = 50
"""Of a chunk, where no bundle says how many."""


def words(robot: Robot) -> str:
    """One line for people."""
    box = robot.black_box
    if not box.folder:
        return "black box: none"
    megabytes = memory_bytes(robot) / 1e6
    return f"black box: {box.seconds:g} s in {megabytes:.0f} MB of memory; the last {box.files} files in {box.folder}"


def memory_bytes(robot: Robot, rows: int = USUAL_ROWS) -> int:
    """Of its rings, with chunks of `rows`; the run's own record comes on top, black box or not."""
    sizes: list[int] = []

    def count(_name: str, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray[Any, np.dtype[Any]]:
        sizes.append(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return np.empty(shape, dtype)

    Rings.of(robot, rows, count)
    return sum(sizes)
