"""A calibration board in the simulated cameras' sight: a ChArUco board wherever somebody holds it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Image = NDArray[np.uint8]

_FINE = 3
"""The board is drawn this many times finer than the frame and averaged: edges fall between pixels, as on a sensor."""
_SQUARE_PX = 64
_WHITE, _BLACK = 225, 25


@dataclass(frozen=True)
class Board:
    """`columns` x `rows` squares of ArUco 4x4_50, markers of 3/4 of a square; `pose` takes its points to the robot."""

    pose: tuple[tuple[float, ...], ...]
    """Rows of a matrix [4, 4]; the board's x goes along its columns, y along its rows, from its top left corner."""
    columns: int = 8
    rows: int = 6
    square_m: float = 0.03


@lru_cache(maxsize=2)
def _picture(columns: int, rows: int) -> Image:
    """Its squares and half a square of white around them, uint8 [(rows + 1) · 64, (columns + 1) · 64]."""
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    board = cv2.aruco.CharucoBoard((columns, rows), 1.0, 0.75, dictionary)
    squares = board.generateImage((columns * _SQUARE_PX, rows * _SQUARE_PX), marginSize=0, borderBits=1)
    return np.pad(squares, _SQUARE_PX // 2, constant_values=255)


def draw(board: Board, matrix: Floats, camera: Floats, out: Image) -> None:
    """Draw `board` into `out` [height, width, 3] through a pinhole `matrix` [3, 3]; `camera` [4, 4] takes the robot's
    points to it (x right, y down, z ahead). Nothing where a part of it is behind the camera."""
    picture = _picture(board.columns, board.rows)
    metres = board.square_m / _SQUARE_PX
    shift = (_SQUARE_PX - 1) / 2  # the first square's corner, between its pixel and the margin's
    plane = np.array([[metres, 0.0, -shift * metres], [0.0, metres, -shift * metres], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    flat = (camera @ np.array(board.pose) @ plane)[:3]
    height, width = picture.shape
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], float)
    if (corners @ flat[2] < 0.02).any():
        return
    finer = np.array([[_FINE, 0.0, (_FINE - 1) / 2], [0.0, _FINE, (_FINE - 1) / 2], [0.0, 0.0, 1.0]])
    size = (out.shape[1] * _FINE, out.shape[0] * _FINE)
    seen = np.stack([picture, np.full_like(picture, 255)], axis=-1)
    fine = cv2.warpPerspective(seen, finer @ matrix @ flat, size, flags=cv2.INTER_LINEAR)
    small = cv2.resize(fine, (out.shape[1], out.shape[0]), interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
    white, part = small[..., :1], small[..., 1:]
    out[:] = np.round(out * (1.0 - part) + _BLACK * part + (_WHITE - _BLACK) * white).astype(np.uint8)
