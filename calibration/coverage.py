"""Where in a camera's frame the board has been seen: as a few lines of text while it is collected, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.views import CELLS, View

_MARKS = " ░▒▓█"
_FEW = 8
"""Corners in a cell that make one mark of four."""
_GROUND, _GRID = (24, 24, 28), (70, 70, 78)


def lines(coverage: NDArray[np.int64]) -> list[str]:
    """One line a row of cells; the fuller a cell, the darker."""
    marks = np.minimum((coverage + _FEW - 1) // _FEW, len(_MARKS) - 1)
    return ["".join(_MARKS[mark] * 2 for mark in row) for row in marks.tolist()]


def picture(views: Sequence[View], size: tuple[int, int]) -> bytes:
    """PNG of the frame, `size` = (width, height), with every corner of every view; a colour a view."""
    canvas: NDArray[np.uint8] = np.full((size[1], size[0], 3), _GROUND, np.uint8)
    for row in range(1, CELLS[0]):
        cv2.line(canvas, (0, row * size[1] // CELLS[0]), (size[0], row * size[1] // CELLS[0]), _GRID)
    for column in range(1, CELLS[1]):
        cv2.line(canvas, (column * size[0] // CELLS[1], 0), (column * size[0] // CELLS[1], size[1]), _GRID)
    for index, view in enumerate(views):
        hue = np.array([[[index * 180 // len(views), 200, 255]]], np.uint8)
        colour = tuple(int(c) for c in cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0])
        for x, y in view.pixels.tolist():
            cv2.circle(canvas, (round(x), round(y)), 2, colour, -1, cv2.LINE_AA)
    return cv2.imencode(".png", canvas)[1].tobytes()
