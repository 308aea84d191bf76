"""A camera that watches for movement: when each frame was taken, and by how much it differs from the one before."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from drivers.cameras.base import Camera, Frame
from drivers.errors import DriverError
from edge_runtime.limits import Floats
from edge_runtime.realtime import helper

FRAME_S = 2.0
"""Longest wait for a frame."""
_EVERY = 2
"""Rows and columns that are compared."""


def change(before: Frame, after: Frame) -> float:
    """Mean difference of two frames [height, width, 3], grey levels, by every second pixel of the green channel."""
    one, other = (frame[::_EVERY, ::_EVERY, 1].astype(np.int16) for frame in (before, after))
    return float(np.abs(one - other).mean())


class Sight:
    """`with Sight(camera) as sight:` the camera is open and watched, on a thread of its own, until the block ends."""

    def __init__(self, camera: Camera) -> None:
        settings = camera.settings
        self._camera = camera
        self._frames = [np.zeros((settings.height, settings.width, 3), np.uint8) for _ in range(2)]
        self._stamps: list[int] = []
        self._changes: list[float] = []
        self._stop = threading.Event()
        self._error: DriverError | None = None
        self._thread = helper(self._watch, f"sight {settings.name}")

    def __enter__(self) -> Sight:
        self._camera.open()
        try:
            self._camera.read_into(self._frames[1], FRAME_S)
        except DriverError:
            self._camera.close()
            raise
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(2 * FRAME_S)
        self._camera.close()

    def seen(self) -> tuple[NDArray[np.int64], Floats]:
        """Stamps [n] ns and changes [n] so far. Raises the `DriverError` that ended the watch, if one has."""
        if self._error is not None:
            raise self._error
        n = len(self._changes)
        return np.array(self._stamps[:n], np.int64), np.array(self._changes[:n])

    def _watch(self) -> None:
        try:
            while not self._stop.is_set():
                before, after = self._frames[::-1] if len(self._changes) % 2 == 0 else self._frames
                stamp = self._camera.read_into(after, FRAME_S)
                self._stamps.append(stamp.capture_ns)
                self._changes.append(change(before, after))
        except DriverError as error:
            self._error = error
