"""A camera's calibration, guided: the board is shown, views are kept by themselves, and what they say is worked out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration import coverage, hand_eye, lens
from calibration.person import Person, Table
from calibration.views import Views
from drivers.cameras.base import Camera
from edge_runtime import calibration_files as files
from edge_runtime.calibration_files import Board, CameraCalibration, Mount

Floats = NDArray[np.float64]

FRAME_S = 2.0
"""Longest wait for a frame."""
COVERED = 0.7
"""Share of the frame that the board is to be seen in."""


@dataclass(frozen=True)
class Measured:
    """What is to be kept: the file, and a picture (PNG) of where the board was seen."""

    found: CameraCalibration
    picture: bytes


def measure_lens(camera: Camera, device: str, board: Board, wanted: int, person: Person) -> Measured:
    """Collect `wanted` views through an open `camera` whose identity is `device`, and work out its lens.

    Raises `DriverError`, and `EdgeError` where the views do not suffice.
    """
    settings = camera.settings
    size = (settings.width, settings.height)
    views = Views(board, size)
    words = f"show the board {board.columns}x{board.rows} to {settings.name}: near and far, tilted, in every corner"
    _collect(camera, views, person, words, lambda: len(views.kept) >= wanted and views.covered >= COVERED)
    seen = lens.measure(board, views.kept, size)
    found = CameraCalibration(
        format=files.FORMAT,
        date=files.now(),
        tool=files.tool(),
        camera=settings.name,
        device=device,
        width=settings.width,
        height=settings.height,
        focal_px=(float(seen.matrix[0, 0]), float(seen.matrix[1, 1])),
        centre_px=(float(seen.matrix[0, 2]), float(seen.matrix[1, 2])),
        distortion=_four(seen.distortion),
        board=board,
        views=len(views.kept),
        error_px=seen.error_px,
        focal_error_px=seen.focal_error_px,
    )
    return Measured(found, coverage.picture(views.kept, size))


def measure_mount(
    camera: Camera,
    known: CameraCalibration,
    frame: Literal["tip", "base"],
    tip: Callable[[], Floats],
    wanted: int,
    person: Person,
) -> CameraCalibration:
    """Collect `wanted` poses of the arm, `tip()` [4, 4] in the base, and work out where `camera` is fixed.

    `frame` says what it is fixed to: at the tip it looks at a board that lies still, at the base at one that the tip
    holds. Raises `DriverError`, and `EdgeError` where the poses do not suffice.
    """
    views, tips = Views(known.board, (known.width, known.height)), list[Floats]()
    words = f"bring the arm into poses in which {known.camera} sees the board, turned about every axis"
    _collect(camera, views, person, words, lambda: len(views.kept) >= wanted, lambda: tips.append(tip()))
    (fx, fy), (cx, cy) = known.focal_px, known.centre_px
    matrix = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    distortion = np.array([*known.distortion, 0.0])
    boards = [lens.locate(known.board, view, matrix, distortion) for view in views.kept]
    return msgspec.structs.replace(known, mount=_mount(hand_eye.solve(tips, boards, frame)))


def _collect(
    camera: Camera,
    views: Views,
    person: Person,
    words: str,
    done: Callable[[], bool],
    kept: Callable[[], None] = lambda: None,
) -> None:
    """Offer every frame to `views`, and call `kept` for each that is, until `done` or Enter."""
    settings = camera.settings
    frame = np.zeros((settings.height, settings.width, 3), np.uint8)

    def show() -> Table:
        camera.read_into(frame, FRAME_S)
        if views.offer(frame):
            kept()
        rows = [(f"{len(views.kept)} views", line) for line in coverage.lines(views.coverage)[:1]]
        rows += [("", line) for line in coverage.lines(views.coverage)[1:]]
        return Table(f"{settings.name}: {views.covered:.0%} of the frame", ("kept", "seen in"), rows)

    person.wait(words, show, done)


def _mount(found: hand_eye.HandEye) -> Mount:
    rows = [tuple(row) for row in found.camera[:3].tolist()]
    return Mount(
        frame=found.frame,
        rotation=(rows[0][:3], rows[1][:3], rows[2][:3]),
        translation_m=(rows[0][3], rows[1][3], rows[2][3]),
        poses=found.poses,
        error_mm=found.error_m * 1e3,
        error_deg=float(np.degrees(found.error_rad)),
    )


def _four(distortion: Floats) -> tuple[float, float, float, float]:
    k1, k2, p1, p2 = distortion[:4].tolist()
    return k1, k2, p1, p2
