"""The thread that keeps the cameras' pictures for the black box: so many a second, as JPEG.

A picture is some hundred times as large as its JPEG, so it is packed when it comes; that takes most of what a black box
costs, which `frames_hz` bounds.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import cv2
import numpy as np

from edge_runtime.black_box.journal import Journal
from edge_runtime.clock import Clock
from edge_runtime.events import Report
from edge_runtime.jpeg import jpeg
from edge_runtime.observation import CameraThread
from edge_runtime.realtime import helper

JPEG = (cv2.IMWRITE_JPEG_QUALITY, 80)
READER = 1
"""Of the cameras' slots: reader 0 is the observer."""
JOIN_S = 1.0


class FrameKeeper:
    """Takes the newest picture of each camera, `frames_hz` times a second."""

    def __init__(
        self,
        cameras: Sequence[CameraThread],
        journals: Sequence[Journal],
        *,
        frames_hz: float,
        clock: Clock,
        report: Report,
    ) -> None:
        self._cameras = [
            (camera, journal, np.zeros_like(camera.pictures.back.pixels))
            for camera, journal in zip(cameras, journals, strict=True)
        ]
        self._seen_ns = [0] * len(self._cameras)
        self._period_ns = round(1e9 / frames_hz)
        self._clock = clock
        self._report = report
        self._stop = threading.Event()
        self._thread = helper(self._run, "black box frames")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after the picture in hand."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def keep(self) -> None:
        """Keep the newest picture of each camera, where it has a new one."""
        for index, (camera, journal, bgr) in enumerate(self._cameras):
            picture = camera.pictures.take(READER)
            if picture is not None and picture.capture_ns != self._seen_ns[index]:
                self._seen_ns[index] = picture.capture_ns
                journal.add(picture.capture_ns, 0, jpeg(picture.pixels, bgr, JPEG))

    def _run(self) -> None:
        due_ns = self._clock.now_ns()
        try:
            while not self._stop.is_set():
                self.keep()
                now_ns = self._clock.now_ns()
                due_ns += max(1, -(-(now_ns - due_ns) // self._period_ns)) * self._period_ns
                self._stop.wait((due_ns - now_ns) / 1e9)
        except Exception as error:  # noqa: BLE001  a black box without pictures is one all the same
            self._report("black box without frames", f"{type(error).__name__}: {error}")
