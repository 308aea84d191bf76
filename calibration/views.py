"""Views of the board: found in a frame, held still, and unlike the ones that are kept."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board import charuco
from edge_runtime.calibration_files import Board

Floats = NDArray[np.float64]

LEAST_CORNERS = 12
"""A view of fewer says little about the lens."""
STILL_PX = 1.0
"""A board that moves less than this between two frames is held still: no motion blur, no rolling shutter."""
NEW_SHARE = 0.05
"""A view is new where its corners are this share of the frame's width away from any kept view's, on average."""
CELLS = (6, 8)
"""Rows and columns of the coverage."""


@dataclass(frozen=True)
class View:
    """Corners of the board in one frame: which, and where they are."""

    ids: NDArray[np.int64]
    """[n]"""
    pixels: Floats
    """[n, 2]"""

    def apart(self, other: View) -> float:
        """Mean distance of the corners that both have, pixels; infinite where they have too few in common."""
        _, here, there = np.intersect1d(self.ids, other.ids, return_indices=True)
        if len(here) < LEAST_CORNERS // 2:
            return float("inf")
        return float(np.linalg.norm(self.pixels[here] - other.pixels[there], axis=1).mean())


class Views:
    """The views of one camera, `size` = (width, height), that are worth keeping."""

    def __init__(self, board: Board, size: tuple[int, int]) -> None:
        self.kept: list[View] = []
        self.coverage = np.zeros(CELLS, np.int64)
        """Corners in each cell of the frame."""
        self._size = size
        self._detector = cv2.aruco.CharucoDetector(charuco(board))
        self._before: View | None = None

    def find(self, frame: NDArray[np.uint8]) -> View | None:
        """The board in an RGB frame [height, width, 3]; None where too little of it is seen."""
        corners, ids, _, _ = self._detector.detectBoard(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
        if ids is None or len(ids) < LEAST_CORNERS:
            return None
        return View(np.asarray(ids).reshape(-1).astype(np.int64), np.asarray(corners, float).reshape(-1, 2))

    def offer(self, frame: NDArray[np.uint8]) -> bool:
        """Keep this frame's view if it is still and new; says whether it was kept."""
        view, before = self.find(frame), self._before
        self._before = view
        if view is None or before is None or view.apart(before) > STILL_PX:
            return False
        if any(view.apart(kept) < NEW_SHARE * self._size[0] for kept in self.kept):
            return False
        self.kept.append(view)
        np.add.at(self.coverage, self._cells(view), 1)
        return True

    @property
    def covered(self) -> float:
        """Share of the frame's cells that corners were seen in."""
        return float((self.coverage > 0).mean())

    def _cells(self, view: View) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        column, row = (view.pixels / self._size * CELLS[::-1]).astype(np.int64).T
        return np.clip(row, 0, CELLS[0] - 1), np.clip(column, 0, CELLS[1] - 1)
