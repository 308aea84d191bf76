"""Where a camera is fixed to a robot, from poses of the arm and what the camera saw of a board in each.

Camera on the arm, board at rest: the board is at the same place of the base in every pose, tip · X · board = const.
Camera at rest, board on the arm: the board is at the same place of the tip, so the same holds with the tip's inverse.
Either way AX = XB for the movements A of the robot and B of the board between two poses: F. C. Park and B. J. Martin,
"Robot sensor calibration: solving AX=XB on the Euclidean group", IEEE T-RA 10(5), 1994. (OpenCV 5 has no hand-eye.)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import EdgeError

Floats = NDArray[np.float64]

LEAST_POSES = 5
LEAST_TURN_RAD = math.radians(15.0)
"""Two poses that differ by a smaller turn say little about where the camera is."""
LEAST_SPREAD = 0.1
"""Turns about axes that are nearly the same leave the camera's place along them open."""


@dataclass(frozen=True)
class HandEye:
    """Camera to `frame`, and how far apart the poses see the board."""

    frame: Literal["tip", "base"]
    camera: Floats
    """[4, 4]"""
    poses: int
    error_m: float
    error_rad: float


def solve(tips: Sequence[Floats], boards: Sequence[Floats], frame: Literal["tip", "base"]) -> HandEye:
    """From the tip's pose in the base [4, 4] and the board's in the camera [4, 4], one of each a pose of the arm.

    Raises `EdgeError` where the poses do not suffice.
    """
    if len(tips) < LEAST_POSES:
        raise EdgeError(f"{len(tips)} poses of the arm are too few to find the camera: take {LEAST_POSES} or more")
    robots = [np.asarray(tip if frame == "tip" else np.linalg.inv(tip), float) for tip in tips]
    pairs = [
        (np.linalg.inv(robots[i]) @ robots[j], boards[i] @ np.linalg.inv(boards[j]))
        for i, j in itertools.combinations(range(len(robots)), 2)
    ]
    pairs = [(a, b) for a, b in pairs if np.linalg.norm(_turn(a)) > LEAST_TURN_RAD]
    camera = np.eye(4)
    camera[:3, :3] = _rotation(pairs)
    camera[:3, 3] = _translation(pairs, camera[:3, :3])
    error_m, error_rad = _spread([robot @ camera @ board for robot, board in zip(robots, boards, strict=True)])
    return HandEye(frame, camera, len(tips), error_m, error_rad)


def _rotation(pairs: Sequence[tuple[Floats, Floats]]) -> Floats:
    """R that takes every turn of the board to the robot's: R = (MᵀM)^(-1/2) Mᵀ with M = Σ β αᵀ, by its SVD."""
    turns = np.array([[_turn(b), _turn(a)] for a, b in pairs]).reshape(-1, 2, 3)
    u, scale, vt = np.linalg.svd(turns[:, 0].T @ turns[:, 1])
    if len(turns) < 2 or scale[1] < LEAST_SPREAD * scale[0]:
        raise EdgeError("the poses turn the arm about one axis only: turn its wrist about others too")
    rotation: Floats = vt.T @ np.diag([1.0, 1.0, np.linalg.det(vt.T @ u.T)]) @ u.T
    return rotation


def _translation(pairs: Sequence[tuple[Floats, Floats]], rotation: Floats) -> Floats:
    """Least squares of (R_A - 1) t = R t_B - t_A."""
    left = np.concatenate([a[:3, :3] - np.eye(3) for a, _ in pairs])
    right = np.concatenate([rotation @ b[:3, 3] - a[:3, 3] for a, b in pairs])
    found: Floats = np.linalg.lstsq(left, right, rcond=None)[0]
    return found


def _spread(places: Sequence[Floats]) -> tuple[float, float]:
    """Root mean square distance, m, and angle, rad, of the places at which a thing that never moved was seen."""
    shifts = np.array([place[:3, 3] for place in places])
    u, _, vt = np.linalg.svd(np.sum([place[:3, :3] for place in places], axis=0))
    mean = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    angles = [np.linalg.norm(cv2.Rodrigues(mean.T @ place[:3, :3])[0]) for place in places]
    distances = np.linalg.norm(shifts - shifts.mean(axis=0), axis=1)
    return float(np.sqrt(np.mean(distances**2))), float(np.sqrt(np.mean(np.square(angles))))


def _turn(movement: Floats) -> Floats:
    """Rotation vector [3]."""
    return np.asarray(cv2.Rodrigues(movement[:3, :3])[0], float).reshape(3)
