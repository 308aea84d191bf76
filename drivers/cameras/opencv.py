"""A V4L2 camera (USB, CSI behind a V4L2 driver, `vivid`) through OpenCV.

`device` is its path, best the one that stays: /dev/v4l/by-id/…, as `edge cameras` lists it; /dev/video0 may be another
camera after the next boot.

What OpenCV leaves open is closed here. The mode that the driver really gave is compared with the one asked for. The
wait for a frame has the caller's limit (`VideoCapture.waitAny`, a poll of this one device) instead of ten seconds. A
frame is handed out only if the driver stamped it anew, because after a timeout `retrieve` gives the last one again and
says nothing. Frames that waited for a late reader are passed over. The stamp is the driver's own (CLOCK_MONOTONIC on
V4L2) where it can be one; frames that are missing between two such stamps count in `frame_id`, because OpenCV hides the
driver's own numbers.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np

from drivers import v4l2
from drivers.cameras.base import Camera, CameraSettings, Frame, Stamp
from drivers.errors import Corrupt, Disconnected, Timeout

BUFFERS = 3
"""One that is decoded, one that waits, one that the camera fills.

With a single one, which OpenCV holds while it decodes, the camera has nowhere to put the frame that begins meanwhile,
and a USB camera at its full rate loses every other.
"""
AUTOMATIC, BY_HAND = (3, 0), 1
"""Values of V4L2_CID_EXPOSURE_AUTO (videodev2.h): aperture priority, or else fully automatic; manual."""
EXPOSURE_UNITS_PER_MS = 10
"""V4L2_CID_EXPOSURE_ABSOLUTE counts 100 µs."""

_FIRST_FRAME_S = "3"
_OLDEST_STAMP_NS = 1_000_000_000
"""A stamp further back than this is of another clock."""
_AT_ONCE_NS = 1
"""Shortest wait that OpenCV knows, which it makes 1 ms; 0 would be for ever."""


class Device(Camera):
    """One V4L2 device in one mode."""

    CAN_SET = frozenset({"format", "exposure_ms"})

    def __init__(self, settings: CameraSettings) -> None:
        super().__init__(settings)
        self._capture: cv2.VideoCapture | None = None
        self._bgr = np.zeros((settings.height, settings.width, 3), np.uint8)
        self._frame_id = -1
        self._stamp_ms = -1.0
        self._captured_ns = 0
        """When the last frame was captured, by the device's own stamp; 0 where that frame had none."""

    def open(self) -> None:
        self.close()
        path = Path(self.settings.device)
        if not path.exists():
            there = ", ".join(found.stable or found.path for found in v4l2.cameras()) or "none"
            raise Disconnected(f"{self._name()} does not exist; cameras on this machine: {there}")
        if not os.access(path, os.R_OK | os.W_OK):
            raise Disconnected(f"{self._name()}: permission denied: {v4l2.PERMISSION}")
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", _FIRST_FRAME_S)
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our own messages say it
        capture = cv2.VideoCapture(str(path), cv2.CAP_V4L2)
        if not capture.isOpened():
            capture.release()
            raise Disconnected(f"{self._name()} is busy or no camera that V4L2 can read")
        self._capture, self._captured_ns = capture, 0
        try:
            self._set_mode(capture)
            self._set_exposure(capture)
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
            whole, bgr = self._newest(capture, timeout_s)
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
        return self._stamp(int(stamp_ms * 1e6), now_ns)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _newest(self, capture: cv2.VideoCapture, timeout_s: float) -> tuple[bool, cv2.typing.MatLike]:
        """The newest frame, and whether it is whole; waits for one where nothing new can be there.

        A queue that was full had no room for what came after, so that the last frame in it may be old.
        """
        waited = 0
        taken: tuple[bool, cv2.typing.MatLike] = False, self._bgr
        while waited < BUFFERS and cv2.VideoCapture.waitAny([capture], _AT_ONCE_NS)[0]:
            taken, waited = capture.retrieve(self._bgr), waited + 1
        if 0 < waited < BUFFERS:
            return taken
        if not cv2.VideoCapture.waitAny([capture], max(int(timeout_s * 1e9), 1))[0]:
            raise Timeout(f"{self._name()}: no frame within {timeout_s * 1e3:.0f} ms")
        return capture.retrieve(self._bgr)

    def _stamp(self, capture_ns: int, now_ns: int) -> Stamp:
        self._frame_id += 1
        if not 0 <= now_ns - capture_ns < _OLDEST_STAMP_NS:
            self._captured_ns = 0
            return Stamp(self._frame_id, now_ns, "dequeue")
        if self._captured_ns:
            self._frame_id += max(0, round((capture_ns - self._captured_ns) * self.settings.fps / 1e9) - 1)
        self._captured_ns = capture_ns
        return Stamp(self._frame_id, capture_ns, "device")

    def _set_mode(self, capture: cv2.VideoCapture) -> None:
        """Ask for the mode and see what came of it."""
        want, modes = self.settings, v4l2.modes(self.settings.device)
        code = self._format(modes)
        if code:
            fourcc = cv2.VideoWriter.fourcc(*code)
            capture.set(cv2.CAP_PROP_FOURCC, fourcc)  # answers yes where it took another one
            if int(capture.get(cv2.CAP_PROP_FOURCC)) != fourcc:
                raise self._cannot(f"has no {code}", modes)
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, want.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, want.height)
        capture.set(cv2.CAP_PROP_FPS, want.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, BUFFERS)
        width, height = (int(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        fps = capture.get(cv2.CAP_PROP_FPS)
        if (width, height) != (want.width, want.height) or abs(fps - want.fps) > 0.5:
            raise self._cannot(f"gives {width}x{height} at {fps:g} fps", modes)

    def _format(self, modes: tuple[v4l2.Mode, ...]) -> str:
        """The pixel format asked for, or else the first that can do the mode; "" leaves it to OpenCV."""
        want = self.settings
        able = {m.format for m in modes if (m.width, m.height) == (want.width, want.height) and m.fps >= want.fps - 0.5}
        return v4l2.FORMATS.get(want.format) or next((code for code in v4l2.FORMATS.values() if code in able), "")

    def _set_exposure(self, capture: cv2.VideoCapture) -> None:
        """A camera keeps what another program has set, so that "automatic" is asked for too."""
        asked_ms = self.settings.exposure_ms
        if not asked_ms:
            any(capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, value) for value in AUTOMATIC)
            return
        asked = round(asked_ms * EXPOSURE_UNITS_PER_MS)
        capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, BY_HAND)
        if not capture.set(cv2.CAP_PROP_EXPOSURE, asked):
            raise Disconnected(f"{self._name()} does not take an exposure of {asked_ms:g} ms: take exposure_ms out")
        got = capture.get(cv2.CAP_PROP_EXPOSURE)
        if abs(got - asked) > max(1.0, 0.1 * asked):
            raise Disconnected(
                f"{self._name()} exposes for {got / EXPOSURE_UNITS_PER_MS:g} ms, exposure_ms asks for {asked_ms:g}"
            )

    def _cannot(self, what: str, modes: tuple[v4l2.Mode, ...]) -> Disconnected:
        want = self.settings
        asked = f"{v4l2.FORMATS.get(want.format, '')} {want.width}x{want.height} at {want.fps:g}".strip()
        return Disconnected(
            f"{self._name()} {what}, {asked} was asked for; {v4l2.nearest(modes, want.width, want.height, want.fps)}"
        )

    def _name(self) -> str:
        return f"camera {self.settings.name}: {self.settings.device}"
