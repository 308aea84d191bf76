"""A camera that watches for movement: what it saw by when, and what ends it."""

from __future__ import annotations

import time

import numpy as np
import pytest

from drivers.cameras.base import Camera, CameraSettings, Frame, Stamp
from drivers.errors import Disconnected
from edge_runtime.sight import Sight, change


class Blinking(Camera):
    """Frame k is of grey level 10 · k, stamped k; gone after `last`."""

    def __init__(self, last: int) -> None:
        super().__init__(CameraSettings("base", "nowhere", 8, 6, 30.0))
        self.last, self.count, self.closed = last, 0, False

    def open(self) -> None:
        self.closed = False

    def read_into(self, frame: Frame, timeout_s: float) -> Stamp:
        if self.count > self.last:
            time.sleep(0.001)
            raise Disconnected("the camera has gone away")
        frame[:] = 10 * self.count
        self.count += 1
        return Stamp(self.count - 1, self.count - 1, "device")

    def close(self) -> None:
        self.closed = True


def test_change_is_the_mean_difference_in_grey_levels() -> None:
    one, other = np.full((2, 6, 8, 3), 250, np.uint8)
    other[:, 4:] = 10
    assert change(one, other) == change(other, one) == 120.0
    assert change(one, one) == 0.0


def test_every_frame_is_compared_with_the_one_before_it_and_a_lost_camera_is_said() -> None:
    camera = Blinking(last=5)
    with Sight(camera) as sight:
        end = time.monotonic() + 5
        while sight._thread.is_alive():
            assert time.monotonic() < end
            time.sleep(0.002)
        with pytest.raises(Disconnected, match="gone away"):
            sight.seen()
    assert camera.closed
    sight._error = None
    stamps, changes = sight.seen()
    assert stamps.tolist() == [1, 2, 3, 4, 5]
    assert changes.tolist() == [10.0] * 5


def test_a_camera_without_a_first_frame_is_closed_again() -> None:
    camera = Blinking(last=-1)
    with pytest.raises(Disconnected), Sight(camera):
        pass
    assert camera.closed
