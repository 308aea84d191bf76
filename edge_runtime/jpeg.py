"""A frame as JPEG."""

from __future__ import annotations

from collections.abc import Sequence

import cv2

from drivers.cameras.base import Frame


def jpeg(rgb: Frame, bgr: Frame, settings: Sequence[int]) -> bytes:
    """A frame as JPEG; `bgr` is where its channels are swapped. The interpreter lock is released meanwhile."""
    cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR, dst=bgr)
    data: Frame = cv2.imencode(".jpg", bgr, settings)[1]
    return data.tobytes()
