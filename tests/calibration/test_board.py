"""The board to print: its squares are what the camera looks for, at the size that was asked for."""

from __future__ import annotations

import re
import zlib

import cv2
import numpy as np
import pytest

from calibration import board as boards
from calibration.views import Views
from edge_runtime.calibration_files import Board
from edge_runtime.errors import EdgeError


def test_a_png_shows_every_corner() -> None:
    board = Board(columns=5, rows=7, square_mm=12.0)
    picture = cv2.imdecode(np.frombuffer(boards.print_out(board, ".png"), np.uint8), cv2.IMREAD_COLOR)
    view = Views(board, picture.shape[1::-1]).find(picture)
    assert view is not None
    assert sorted(view.ids.tolist()) == list(range(4 * 6))


def test_a_pdf_is_one_page_of_its_true_size_that_holds_the_picture() -> None:
    board = Board(columns=8, rows=6, square_mm=30.0)
    pdf = boards.print_out(board, ".pdf")
    box = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf)
    assert box is not None
    page_mm = [float(size) * 25.4 / 72 for size in box.groups()]
    np.testing.assert_allclose(page_mm, [8 * 30 + 20, 6 * 30 + 20], atol=0.1)
    for number, place in enumerate(re.findall(rb"(\d{10}) 00000 n", pdf), 1):
        assert pdf[int(place) :].startswith(b"%d 0 obj" % number)
    assert pdf[int(pdf.split(b"startxref\n")[1].split()[0]) :].startswith(b"xref")
    width, height = (int(re.search(rb"/%b (\d+)" % key, pdf)[1]) for key in (b"Width", b"Height"))  # type: ignore[index]
    stream = pdf[pdf.index(b"/FlateDecode") :].split(b"stream\n", 1)[1]
    picture = np.frombuffer(zlib.decompressobj().decompress(stream), np.uint8).reshape(height, width)
    view = Views(board, (width, height)).find(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB))
    assert view is not None
    assert len(view.ids) == 7 * 5


def test_another_ending_and_too_many_squares_are_refused() -> None:
    with pytest.raises(EdgeError, match=r'written as .pdf or .png, not ".jpg"'):
        boards.print_out(Board(), ".jpg")
    with pytest.raises(EdgeError, match="needs more than 50 markers"):
        boards.charuco(Board(columns=12, rows=12))
