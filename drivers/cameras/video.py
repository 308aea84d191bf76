"""A camera that plays a video file at the rate at which it was filmed.

`device` is a file that OpenCV's FFmpeg reads (MP4, AVI, MKV, …); pacing, stamps, "?loop" and the silence after the last
picture are those of `images.py`. Size and rate must be the file's own, as with any camera. OpenCV decodes outside the
interpreter lock, on the thread that reads.
"""

from __future__ import annotations

import os

import cv2
import numpy as np

from drivers.cameras import images
from drivers.cameras.base import CameraSettings, Frame

_QUIET = "-8"
"""AV_LOG_QUIET (libavutil/log.h)."""


class Device(images.Device):
    """The film as a camera."""

    def _pictures(self, path: str) -> images.Pictures:
        film = _Film(path, self.settings)
        rate, fps = film.fps, self.settings.fps
        if not len(film):
            raise self._refused("no video that OpenCV's FFmpeg reads")
        if abs(rate - fps) > 0.5:
            raise self._refused(f"filmed at {rate:g} fps, but fps asks for {fps:g}")
        return film


class _Film:
    """The pictures of a file, decoded in order; one that lies further back begins the file again."""

    def __init__(self, path: str, settings: CameraSettings) -> None:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _QUIET)
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our own messages say it
        self._path = path
        self._capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
        self._next = 0
        self._rgb = np.zeros((settings.height, settings.width, 3), np.uint8)
        self.fps = self._capture.get(cv2.CAP_PROP_FPS)

    def __len__(self) -> int:
        return max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __getitem__(self, index: int, /) -> Frame:
        if index < self._next:
            self._capture = cv2.VideoCapture(self._path, cv2.CAP_FFMPEG)
            self._next = 0
        while self._next < index and self._capture.grab():
            self._next += 1
        whole, bgr = self._capture.read()
        self._next += 1
        if not whole:
            raise ValueError(f"{self._path}: picture {index} of {len(self)} does not decode")
        if bgr.shape != self._rgb.shape:
            return np.asarray(bgr, np.uint8)  # whose size is then refused
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=self._rgb), np.uint8)
