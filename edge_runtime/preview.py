"""A frame for people: in a terminal, where two pixels fit in a character, or as a PNG file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from drivers.cameras.base import Frame
from edge_runtime.files import write_whole

COLUMNS = 64


def half_blocks(frame: Frame, columns: int = COLUMNS) -> str:
    """`frame` [height, width, 3] in characters "▀" with the colours of the pixels above and below (24-bit ANSI)."""
    height, width = frame.shape[:2]
    columns = min(columns, width)
    rows = max(2, round(height * columns / width) // 2 * 2)
    small = cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_AREA)
    return "\n".join(_line(above, below) for above, below in zip(small[::2], small[1::2], strict=True))


def save(frame: Frame, path: Path) -> None:
    """Write `frame`, RGB, as a PNG file."""
    write_whole(path, cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes())


def _line(above: np.ndarray, below: np.ndarray) -> str:
    def pair(top: np.ndarray, bottom: np.ndarray) -> str:
        return "\x1b[38;2;{};{};{};48;2;{};{};{}m▀".format(*top, *bottom)

    return "".join(map(pair, above, below)) + "\x1b[0m"
