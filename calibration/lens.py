"""A camera's lens from views of the board: focal length, centre, distortion, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board import charuco
from calibration.views import View
from edge_runtime.calibration_files import Board
from edge_runtime.errors import EdgeError

Floats = NDArray[np.float64]

LEAST_VIEWS = 8
MOST_FOCAL_SHARE = 0.01
"""Views that leave the focal length this unsure are too much alike."""
LEAST_TILT_RAD = math.radians(20.0)
"""Between some two views: a board that only moves fits any focal length, by being nearer or further away."""
_FLAGS = cv2.CALIB_FIX_K3
"""k1, k2, p1, p2: a board seldom reaches the corners that k3 is about."""


@dataclass(frozen=True)
class Lens:
    """OpenCV's pinhole model."""

    matrix: Floats
    """[3, 3]"""
    distortion: Floats
    """[5] k1, k2, p1, p2, 0"""
    error_px: float
    """Of reprojection, root mean square over all corners."""
    focal_error_px: float
    """Standard deviation that the views leave, the larger of x and y."""


def measure(board: Board, views: Sequence[View], size: tuple[int, int]) -> Lens:
    """Zhang's method as OpenCV has it (`calibrateCameraExtended`). Raises `EdgeError` where views do not suffice."""
    if len(views) < LEAST_VIEWS:
        raise EdgeError(f"{len(views)} views of the board are too few for a lens: show it {LEAST_VIEWS} times or more")
    corners = charuco(board).getChessboardCorners()
    points = [np.asarray(corners, np.float32)[view.ids] for view in views]
    pixels = [view.pixels.astype(np.float32) for view in views]
    error, matrix, distortion, turns, _, spread, _, _ = cv2.calibrateCameraExtended(
        points, pixels, size, np.eye(3), np.zeros(5), flags=_FLAGS
    )
    focal_error = float(np.max(spread[:2]))
    if not focal_error <= MOST_FOCAL_SHARE * matrix[0, 0] or _tilt(turns) < LEAST_TILT_RAD:
        raise EdgeError(
            "these views leave the focal length open: tilt the board more, each time another way, and show it nearer"
        )
    return Lens(np.asarray(matrix, float), np.asarray(distortion, float).reshape(-1)[:5], float(error), focal_error)


def _tilt(turns: Sequence[NDArray[Any]]) -> float:
    """The widest angle between the board's normals of two views, rad, from its rotation vectors."""
    normals = np.array([cv2.Rodrigues(turn)[0][:, 2] for turn in turns])
    return float(np.arccos(np.clip(normals @ normals.T, -1.0, 1.0)).max())


def locate(board: Board, view: View, matrix: Floats, distortion: Floats) -> Floats:
    """Board to camera [4, 4] in one view through a lens that is known."""
    points = np.asarray(charuco(board).getChessboardCorners(), np.float64)[view.ids]
    _, turn, shift = cv2.solvePnP(points, view.pixels, matrix, distortion)
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(turn)[0]
    pose[:3, 3] = np.asarray(shift, float).reshape(3)
    return pose
