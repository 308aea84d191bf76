"""A V4L2 camera (USB, CSI behind a V4L2 driver, `vivid`) through OpenCV. `device` is its path, such as /dev/video0.

What OpenCV leaves open is closed here. The mode that the driver really gave is compared with the one asked for. The
wait for a frame has the caller's limit (`VideoCapture.waitAny`, a poll of this one device) instead of ten seconds. A
frame is handed out only if the driver stamped it anew, because after a timeout `retrieve` gives the last one again and
says nothing. The stamp is the driver's own (CLOCK_MONOTONIC on V4L2) where it can be one.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np

from drivers.cameras.base import Camera, CameraSettings, Frame, Stamp
from drivers.errors import Corrupt, Disconnected, Timeout

_FIRST_FRAME_S = "3"
_OLDEST_STAMP_NS = 1_000_000_000
"""A stamp further back than this is of another clock."""


class Device(Camera):
    """One V4L2 device in one mode, one buffer deep, so that the frame that waits is never an old one."""

    def __init__(self, settings: CameraSettings) -> None:
        super().__init__(settings)
        self._capture: cv2.VideoCapture | None = None
        self._bgr = np.zeros((settings.height, settings.width, 3), np.uint8)
        self._frame_id = -1
        self._stamp_ms = -1.0

    def open(self) -> None:
        self.close()
        path = Path(self.settings.device)
        if not path.exists():
            there = ", ".join(sorted(str(p) for p in Path("/dev").glob("video*"))) or "none"
            raise Disconnected(f"{self._name()} does not exist; cameras on this machine: {there}")
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", _FIRST_FRAME_S)
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our own messages say it
        capture = cv2.VideoCapture(str(path), cv2.CAP_V4L2)
        if not capture.isOpened():
            capture.release()
            raise Disconnected(f"{self._name()} is busy or no camera that V4L2 can read")
        self._capture = capture
        try:
            self._set_mode(capture)
            if not capture.read()[0]:  # starts the stream
                raise Disconnected(f"{self._name()} gives no frames")
        except Disconnected:
            self.close()
            raise

    def read_into(self, frame: Frame, timeout_s: float) -> Stamp:
        capture = self._capture
        if capture is None:
            raise Disconnected(f"{self._name()} is not open")
        try:
            ready, _ = cv2.VideoCapture.waitAny([capture], max(int(timeout_s * 1e9), 1))
            if not ready:
                raise Timeout(f"{self._name()}: no frame within {timeout_s * 1e3:.0f} ms")
            whole, bgr = capture.retrieve(self._bgr)
        except cv2.error as error:
            raise Disconnected(f"{self._name()} stopped delivering frames; is it still plugged in?") from error
        now_ns = time.monotonic_ns()
        stamp_ms = capture.get(cv2.CAP_PROP_POS_MSEC)
        if not whole or bgr.shape != frame.shape:
            raise Corrupt(f"{self._name()}: a frame that does not decode")
        if stamp_ms > 0 and stamp_ms == self._stamp_ms:
            raise Timeout(f"{self._name()}: the same frame again, nothing new within {timeout_s * 1e3:.0f} ms")
        self._stamp_ms = stamp_ms
        cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=frame)
        self._frame_id += 1
        capture_ns = int(stamp_ms * 1e6)
        if 0 <= now_ns - capture_ns < _OLDEST_STAMP_NS:
            return Stamp(self._frame_id, capture_ns, "device")
        return Stamp(self._frame_id, now_ns, "dequeue")

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _set_mode(self, capture: cv2.VideoCapture) -> None:
        """Ask for the mode, one buffer deep, and see what came of it."""
        want = self.settings
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, want.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, want.height)
        capture.set(cv2.CAP_PROP_FPS, want.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        width, height = (int(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        fps = capture.get(cv2.CAP_PROP_FPS)
        if (width, height) != (want.width, want.height) or abs(fps - want.fps) > 0.5:
            raise Disconnected(
                f"{self._name()} gives {width}x{height} at {fps:g} fps, {want.width}x{want.height} at {want.fps:g} "
                "was asked for; ask for a mode that `v4l2-ctl --list-formats-ext` lists"
            )

    def _name(self) -> str:
        return f"camera {self.settings.name}: {self.settings.device}"
