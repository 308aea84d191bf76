"""The V4L2 camera: real errors on this machine, and OpenCV's habits played by a stand-in where there is no camera."""

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from drivers.cameras.base import CameraSettings, Frame
from drivers.cameras.opencv import Device
from drivers.errors import Corrupt, Disconnected, Timeout

WIDTH, HEIGHT, FPS = 8, 6, 30.0


class FakeCapture:
    """What cv2.VideoCapture does, as far as the driver uses it: `frames` are (stamp ms, BGR picture or None)."""

    mode = (float(WIDTH), float(HEIGHT), FPS)
    opened = True
    frames: list[tuple[float, Frame | None]]
    gone = False

    def __init__(self, *_: object) -> None:
        self.stamp_ms = 0.0
        self.released = False
        self.settings: dict[int, float] = {}
        FakeCapture.last = self

    last: "FakeCapture"

    def isOpened(self) -> bool:
        return self.opened

    def set(self, prop: int, value: float) -> bool:
        self.settings[prop] = value
        return True

    def get(self, prop: int) -> float:
        modes = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
        return self.mode[modes.index(prop)] if prop in modes else self.stamp_ms

    def read(self) -> tuple[bool, Frame | None]:
        return (True, np.zeros((HEIGHT, WIDTH, 3), np.uint8)) if self.frames else (False, None)

    def retrieve(self, _: Frame) -> tuple[bool, Any]:
        self.stamp_ms, picture = self.frames.pop(0)
        return picture is not None, picture

    def release(self) -> None:
        self.released = True

    @staticmethod
    def waitAny(captures: "list[FakeCapture]", timeout_ns: int) -> tuple[bool, list[int]]:
        if FakeCapture.gone:
            raise cv2.error("Error is reported for camera stream")
        return (True, [0]) if captures[0].frames else (False, [])


def picture(grey: int = 0) -> Frame:
    bgr = np.full((HEIGHT, WIDTH, 3), grey, np.uint8)
    bgr[0, 0] = 255, 128, 64
    return bgr


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeCapture]:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "frames", [], raising=False)
    monkeypatch.setattr(FakeCapture, "mode", FakeCapture.mode)
    monkeypatch.setattr(FakeCapture, "opened", True)
    monkeypatch.setattr(FakeCapture, "gone", False)
    return FakeCapture


@pytest.fixture
def camera(tmp_path: Path) -> Device:
    (tmp_path / "video0").touch()
    return Device(CameraSettings("base", f"{tmp_path}/video0", WIDTH, HEIGHT, FPS))


def now_ms() -> float:
    return time.monotonic_ns() / 1e6


def test_rgb_and_the_devices_own_stamp(fake: type[FakeCapture], camera: Device) -> None:
    stamps = [now_ms() - 40, now_ms() - 7]
    fake.frames = [(stamps[0], picture(1)), (stamps[1], picture(2))]
    camera.open()
    assert fake.last.settings[cv2.CAP_PROP_BUFFERSIZE] == 1
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for k in range(2):
        stamp = camera.read_into(frame, 0.1)
        assert (stamp.frame_id, stamp.source) == (k, "device")
        assert abs(stamp.capture_ns / 1e6 - stamps[k]) < 0.001
        assert frame[1, 1].tolist() == [k + 1] * 3
        assert frame[0, 0].tolist() == [64, 128, 255]
    camera.close()
    camera.close()
    assert fake.last.released


def test_a_stamp_of_another_clock_is_not_believed(fake: type[FakeCapture], camera: Device) -> None:
    fake.frames = [(time.time() * 1e3, picture())]
    camera.open()
    stamp = camera.read_into(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 0.1)
    assert stamp.source == "dequeue"
    assert 0 <= time.monotonic_ns() - stamp.capture_ns < 10**9


def test_no_frame_in_time(fake: type[FakeCapture], camera: Device) -> None:
    fake.frames = [(now_ms(), picture())]
    camera.open()
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    camera.read_into(frame, 0.1)
    with pytest.raises(Timeout, match="video0: no frame within 100 ms"):
        camera.read_into(frame, 0.1)


def test_an_old_frame_is_never_served_again(fake: type[FakeCapture], camera: Device) -> None:
    fake.frames = [(now_ms(), picture())] * 2
    camera.open()
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    camera.read_into(frame, 0.1)
    frame[:] = 9
    with pytest.raises(Timeout, match="the same frame again"):
        camera.read_into(frame, 0.1)
    assert (frame == 9).all()


def test_a_frame_that_does_not_decode(fake: type[FakeCapture], camera: Device) -> None:
    fake.frames = [(now_ms(), None), (now_ms(), np.zeros((2, 2, 3), np.uint8))]
    camera.open()
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for _ in range(2):
        with pytest.raises(Corrupt, match="a frame that does not decode"):
            camera.read_into(frame, 0.1)


def test_a_camera_that_was_unplugged(fake: type[FakeCapture], camera: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.frames = [(now_ms(), picture())]
    camera.open()
    monkeypatch.setattr(FakeCapture, "gone", True)
    with pytest.raises(Disconnected, match="stopped delivering frames"):
        camera.read_into(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 0.1)


def test_another_mode_than_asked_for(fake: type[FakeCapture], camera: Device) -> None:
    fake.frames = [(now_ms(), picture())]
    fake.mode = (16.0, 12.0, 15.0)
    with pytest.raises(Disconnected, match="gives 16x12 at 15 fps, 8x6 at 30 was asked for"):
        camera.open()
    assert fake.last.released
    with pytest.raises(Disconnected, match="not open"):
        camera.read_into(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 0.1)


def test_a_camera_without_frames(fake: type[FakeCapture], camera: Device) -> None:
    with pytest.raises(Disconnected, match="gives no frames"):
        camera.open()


def test_what_is_no_camera(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The real OpenCV, which would talk on stderr."""
    (tmp_path / "file").write_text("no camera")
    for device, says in (("video9", "does not exist; cameras on this machine: "), ("file", "is busy or no camera")):
        with pytest.raises(Disconnected, match=says):
            Device(CameraSettings("base", f"{tmp_path}/{device}", WIDTH, HEIGHT, FPS)).open()
    assert capfd.readouterr() == ("", "")
