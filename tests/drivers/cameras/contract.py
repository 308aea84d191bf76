"""What every camera must do, whatever it is. Subclass per camera and supply the `rig` fixture."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

import numpy as np
import pytest

from drivers.cameras.base import Camera, Frame
from drivers.errors import Disconnected, Timeout

SLACK_S = 0.25


class Rig(ABC):
    """A camera, and what stands before it."""

    camera: Camera

    @abstractmethod
    def film(self, value: int) -> None:
        """Let the camera take one frame, whose pixels are all `value`, now."""

    @abstractmethod
    def unplug(self) -> None:
        """Pull the camera's cable."""

    def buffer(self) -> Frame:
        settings = self.camera.settings
        return np.zeros((settings.height, settings.width, 3), np.uint8)


class CameraContract:
    """The contract of `drivers.cameras.base`, as behaviour."""

    def test_frames_come_whole_stamped_and_in_order(self, rig: Rig) -> None:
        rig.camera.open()
        frame, last_id, last_ns = rig.buffer(), -1, time.monotonic_ns() - 1_000_000_000
        for value in (10, 200, 30):
            rig.film(value)
            stamp = rig.camera.read_into(frame, 2.0)
            assert np.unique(frame).tolist() == [value]
            assert stamp.frame_id > last_id
            assert last_ns < stamp.capture_ns <= time.monotonic_ns()
            last_id, last_ns = stamp.frame_id, stamp.capture_ns

    def test_no_frame_comes_twice(self, rig: Rig) -> None:
        rig.camera.open()
        rig.film(1)
        rig.camera.read_into(rig.buffer(), 2.0)
        with pytest.raises(Timeout):
            rig.camera.read_into(rig.buffer(), 0.05)

    def test_a_late_reader_gets_the_newest_frame(self, rig: Rig) -> None:
        rig.camera.open()
        frame = rig.buffer()
        rig.film(1)
        rig.camera.read_into(frame, 2.0)
        for value in (2, 3, 4):
            rig.film(value)
        rig.camera.read_into(frame, 2.0)
        assert np.unique(frame).tolist() == [4]

    def test_waiting_ends_at_the_timeout_and_the_next_frame_is_good(self, rig: Rig) -> None:
        rig.camera.open()
        frame = rig.buffer()
        start = time.monotonic()
        with pytest.raises(Timeout):
            rig.camera.read_into(frame, 0.1)
        assert 0.1 <= time.monotonic() - start < 0.1 + SLACK_S
        rig.film(9)
        rig.camera.read_into(frame, 2.0)
        assert np.unique(frame).tolist() == [9]

    def test_unplugged_is_disconnected_and_stays_so(self, rig: Rig) -> None:
        rig.camera.open()
        rig.unplug()
        for _ in range(2):
            with pytest.raises(Disconnected):
                rig.camera.read_into(rig.buffer(), 1.0)
        with pytest.raises(Disconnected):
            rig.camera.open()

    def test_closed_twice_and_opened_again(self, rig: Rig) -> None:
        rig.camera.close()
        rig.camera.open()
        rig.camera.close()
        rig.camera.close()
        with pytest.raises(Disconnected):
            rig.camera.read_into(rig.buffer(), 0.1)
        rig.camera.open()
        rig.film(5)
        assert rig.camera.read_into(rig.buffer(), 2.0).frame_id >= 0
