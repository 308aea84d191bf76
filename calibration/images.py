"""Encoded images to RGB frames, strictly: a picture that ends early is an error, not a picture with a grey half."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from calibration.datasets.base import DatasetError, Frame, Frames

_ENDS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND\xaeB`\x82"}
"""How a JPEG and a PNG begin, and how a whole one ends."""


def decode_rgb(data: bytes) -> Frame:
    """A JPEG or PNG as RGB uint8 [height, width, 3]; `ValueError` with the reason where it is none."""
    end = next((end for start, end in _ENDS.items() if data.startswith(start)), None)
    if end is None:
        raise ValueError(f"{len(data)} bytes that are neither JPEG nor PNG")
    if not data.rstrip(b"\0").endswith(end):
        raise ValueError(f"an image of {len(data)} bytes that ends early")
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # sizes beyond what OpenCV allows
        bgr = None
    if bgr is None:
        raise ValueError(f"an image of {len(data)} bytes that does not decode")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


class EncodedFrames(Frames):
    """Frames of one camera over one episode, decoded when they are taken.

    `shape` is [height, width, 3] as the dataset's description has it, -1 where it leaves a size open. `where` names
    file, record and camera.
    """

    def __init__(self, encoded: Sequence[bytes], shape: tuple[int, ...], where: str) -> None:
        self._encoded = encoded
        self._shape = shape
        self._where = where

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, step: int, /) -> Frame:
        try:
            frame = decode_rgb(self._encoded[step])
        except ValueError as error:
            raise DatasetError(f"{self._where}, step {step}: {error}") from error
        if any(want not in (-1, have) for want, have in zip(self._shape, frame.shape, strict=True)):
            raise DatasetError(f"{self._where}, step {step}: an image of {frame.shape}, {self._shape} was promised")
        return frame
