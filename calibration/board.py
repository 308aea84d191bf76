"""The ChArUco board: a chessboard whose white squares carry markers, so that a part of it is enough to know which.

ArUco dictionary 4x4_50, markers of 3/4 of a square (OpenCV, `cv2.aruco.CharucoBoard`). Point (0, 0, 0) is the board's
top left corner, x along its columns, y along its rows, metres.
"""

from __future__ import annotations

import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.calibration_files import Board
from edge_runtime.errors import EdgeError

MARKER_SHARE = 0.75
MARKERS = 50
"""Of the dictionary; every second square carries one."""
DOTS_PER_MM = 12
"""About 300 dots an inch."""
MARGIN_MM = 10.0
_POINT_MM = 25.4 / 72
"""PDF's unit of length."""


def charuco(board: Board) -> cv2.aruco.CharucoBoard:
    """OpenCV's description of it. Raises `EdgeError` for more squares than the dictionary has markers for."""
    if board.columns * board.rows // 2 > MARKERS:
        raise EdgeError(f"a board of {board.columns}x{board.rows} squares needs more than {MARKERS} markers")
    edge_m = board.square_mm / 1e3
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    return cv2.aruco.CharucoBoard((board.columns, board.rows), edge_m, edge_m * MARKER_SHARE, dictionary)


def draw(board: Board, square_px: int) -> NDArray[np.uint8]:
    """Its squares without a margin, uint8 [rows · square_px, columns · square_px]."""
    size = (board.columns * square_px, board.rows * square_px)
    return np.asarray(charuco(board).generateImage(size, marginSize=0, borderBits=1), np.uint8)


def print_out(board: Board, suffix: str) -> bytes:
    """It with a margin as a file: ".pdf" of its true size for the printer, or ".png". Raises `EdgeError` for others."""
    margin = round(MARGIN_MM * DOTS_PER_MM)
    picture = np.pad(draw(board, round(board.square_mm * DOTS_PER_MM)), margin, constant_values=255)
    if suffix == ".pdf":
        return _pdf(picture, board.square_mm / round(board.square_mm * DOTS_PER_MM))
    if suffix == ".png":
        return cv2.imencode(".png", picture)[1].tobytes()
    raise EdgeError(f'a board is written as .pdf or .png, not "{suffix}"')


def _pdf(picture: NDArray[np.uint8], dot_mm: float) -> bytes:
    """One page that is the picture, `dot_mm` a dot (PDF 1.4, ISO 32000-1: 7.5 file structure, 8.9 images)."""
    height, width = picture.shape
    x, y = (round(size * dot_mm / _POINT_MM, 4) for size in (width, height))
    content = f"{x} 0 0 {y} 0 0 cm /Board Do".encode()
    image = (
        f"/Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceGray "
        f"/BitsPerComponent 8 /Filter /FlateDecode"
    )
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {x} {y}] /Contents 4 0 R "
        f"/Resources << /XObject << /Board 5 0 R >> >> >>".encode(),
        _stream("", content),
        _stream(image, zlib.compress(picture.tobytes(), 9)),
    ]
    text, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(text))
        text += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    rows = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    table = b"xref\n0 %d\n0000000000 65535 f \n%b" % (size, rows)
    return text + table + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(text))


def _stream(entries: str, data: bytes) -> bytes:
    return b"<< %b /Length %d >>\nstream\n%b\nendstream" % (entries.encode(), len(data), data)
