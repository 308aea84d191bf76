"""The V4L2 camera: real errors on this machine, and OpenCV's habits played by a stand-in where there is no camera."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from drivers import v4l2
from drivers.cameras import opencv
from drivers.cameras.base import CameraSettings, Frame
from drivers.cameras.opencv import AUTOMATIC, BUFFERS, BY_HAND, Device
from drivers.errors import Corrupt, Disconnected, Timeout
from drivers.v4l2 import Mode
from tests.drivers.cameras.contract import CameraContract, Rig

WIDTH, HEIGHT, FPS = 8, 6, 30.0


class FakeCapture:
    """What cv2.VideoCapture does, as far as the driver uses it.

    `frames` are (stamp ms, BGR picture or None): those that come, one for each wait; `queue` those that lie there.
    As with OpenCV, `set` says yes and `get` says what came of it: `refuses` are the properties that stay as they were.
    """

    mode = (float(WIDTH), float(HEIGHT), FPS)
    opened = True
    frames: list[tuple[float, Frame | None]]
    queue: list[tuple[float, Frame | None]]
    gone = False
    refuses: tuple[int, ...] = ()

    def __init__(self, *_: object) -> None:
        self.stamp_ms = 0.0
        self.released = False
        self.settings: dict[int, float] = {}
        FakeCapture.last = self

    last: FakeCapture

    def isOpened(self) -> bool:
        return self.opened

    def set(self, prop: int, value: float) -> bool:
        if prop not in self.refuses:
            self.settings[prop] = value
        return prop not in self.refuses or prop == cv2.CAP_PROP_FOURCC

    def get(self, prop: int) -> float:
        modes = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
        if prop == cv2.CAP_PROP_POS_MSEC:
            return self.stamp_ms
        return self.mode[modes.index(prop)] if prop in modes else self.settings.get(prop, 0.0)

    def read(self) -> tuple[bool, Frame | None]:
        return (True, np.zeros((HEIGHT, WIDTH, 3), np.uint8)) if self.frames else (False, None)

    def retrieve(self, _: Frame) -> tuple[bool, Any]:
        self.stamp_ms, picture = self.queue.pop(0)
        return picture is not None, picture

    def release(self) -> None:
        self.released = True

    @staticmethod
    def waitAny(captures: list[FakeCapture], timeout_ns: int) -> tuple[bool, list[int]]:
        if FakeCapture.gone:
            raise cv2.error("Error is reported for camera stream")
        if not FakeCapture.queue and timeout_ns > 1_000_000 and FakeCapture.frames:
            FakeCapture.queue.append(FakeCapture.frames.pop(0))
        return bool(FakeCapture.queue), []


def picture(grey: int = 0) -> Frame:
    bgr = np.full((HEIGHT, WIDTH, 3), grey, np.uint8)
    bgr[0, 0] = 255, 128, 64
    return bgr


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeCapture]:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "frames", [], raising=False)
    monkeypatch.setattr(FakeCapture, "queue", [], raising=False)
    monkeypatch.setattr(FakeCapture, "refuses", ())
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


class FakeRig(Rig):
    """Frames lie in the queue as soon as they are taken."""

    def __init__(self, camera: Device) -> None:
        self.camera = camera
        FakeCapture.frames.append((now_ms(), picture()))  # the one that `open` reads

    def film(self, value: int) -> None:
        FakeCapture.queue.append((now_ms(), np.full((HEIGHT, WIDTH, 3), value, np.uint8)))

    def unplug(self) -> None:
        FakeCapture.gone, FakeCapture.opened = True, False


@pytest.fixture
def rig(fake: type[FakeCapture], camera: Device, monkeypatch: pytest.MonkeyPatch) -> FakeRig:
    monkeypatch.setattr(opencv, "BUFFERS", 4)  # so that three frames do not fill the queue
    monkeypatch.setattr(fake, "waitAny", staticmethod(wait_in_real_time))
    return FakeRig(camera)


def wait_in_real_time(_: list[FakeCapture], timeout_ns: int) -> tuple[bool, list[int]]:
    if FakeCapture.gone:
        raise cv2.error("Error is reported for camera stream")
    if not FakeCapture.queue:
        time.sleep(timeout_ns / 1e9)
    return bool(FakeCapture.queue), []


class TestContract(CameraContract):
    pass


def test_rgb_and_the_devices_own_stamp(fake: type[FakeCapture], camera: Device) -> None:
    stamps = [now_ms() - 40, now_ms() - 7]
    fake.frames = [(stamps[0], picture(1)), (stamps[1], picture(2))]
    camera.open()
    assert fake.last.settings[cv2.CAP_PROP_BUFFERSIZE] == BUFFERS
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


def test_frames_that_are_missing_between_two_stamps_are_counted(fake: type[FakeCapture], camera: Device) -> None:
    last_ms = now_ms()
    fake.frames = [(last_ms - 9e3 / FPS, picture()), (last_ms - 8e3 / FPS, picture()), (last_ms - 4e3 / FPS, picture())]
    camera.open()
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    assert [camera.read_into(frame, 0.1).frame_id for _ in range(3)] == [0, 1, 5]
    fake.frames = [(time.time() * 1e3, picture()), (now_ms(), picture())]
    assert [camera.read_into(frame, 0.1).frame_id for _ in range(2)] == [6, 7], "not between stamps of two clocks"


def test_a_late_reader_gets_what_came_last(fake: type[FakeCapture], camera: Device) -> None:
    fake.frames = [(now_ms(), picture(9))]
    camera.open()
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    fake.queue = [(now_ms(), picture(1)), (now_ms(), picture(2))]
    camera.read_into(frame, 0.1)
    assert frame[1, 1, 0] == 2
    fake.queue = [(now_ms(), picture(value)) for value in (3, 4, 5)]
    camera.read_into(frame, 0.1)
    assert frame[1, 1, 0] == 9, "the queue was full: what it holds may be old"


MODES = (
    Mode("MJPG", WIDTH, HEIGHT, 30.0),
    Mode("MJPG", 64, 48, 30.0),
    Mode("YUYV", WIDTH, HEIGHT, 30.0),
    Mode("YUYV", 64, 48, 5.0),
    Mode("GREY", 64, 48, 60.0),
)


@pytest.mark.parametrize(
    ("asked", "size", "chosen"),
    [("", (WIDTH, HEIGHT), "YUYV"), ("mjpg", (WIDTH, HEIGHT), "MJPG"), ("", (64, 48), "MJPG"), ("", (32, 24), None)],
)
def test_the_pixel_format_is_the_one_asked_for_or_one_that_can_do_the_mode(
    fake: type[FakeCapture],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
    size: tuple[int, int],
    chosen: str | None,
) -> None:
    monkeypatch.setattr(v4l2, "modes", lambda path: MODES)
    (tmp_path / "video0").touch()
    fake.mode, fake.frames = (*map(float, size), FPS), [(now_ms(), picture())]
    Device(CameraSettings("base", f"{tmp_path}/video0", *size, FPS, format=asked)).open()
    fourcc = None if chosen is None else cv2.VideoWriter.fourcc(*chosen)
    assert fake.last.settings.get(cv2.CAP_PROP_FOURCC) == fourcc


def test_a_pixel_format_that_the_camera_has_not(
    fake: type[FakeCapture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(v4l2, "modes", lambda path: MODES[2:])
    (tmp_path / "video0").touch()
    fake.refuses, fake.frames = (cv2.CAP_PROP_FOURCC,), [(now_ms(), picture())]
    camera = Device(CameraSettings("base", f"{tmp_path}/video0", WIDTH, HEIGHT, FPS, format="mjpg"))
    with pytest.raises(
        Disconnected, match=r"video0 has no MJPG, MJPG 8x6 at 30 was asked for; it can do YUYV 8x6 at 30"
    ):
        camera.open()


def exposing(tmp_path: Path, exposure_ms: float) -> Device:
    (tmp_path / "video0").touch()
    return Device(CameraSettings("base", f"{tmp_path}/video0", WIDTH, HEIGHT, FPS, exposure_ms=exposure_ms))


def test_exposure_by_hand_and_automatic(fake: type[FakeCapture], tmp_path: Path) -> None:
    """Automatic is asked for too: the camera may still have what another program set."""
    fake.frames = [(now_ms(), picture())]
    exposing(tmp_path, 8.0).open()
    assert fake.last.settings[cv2.CAP_PROP_AUTO_EXPOSURE] == BY_HAND
    assert fake.last.settings[cv2.CAP_PROP_EXPOSURE] == 80
    exposing(tmp_path, 0.0).open()
    assert fake.last.settings[cv2.CAP_PROP_AUTO_EXPOSURE] == AUTOMATIC[0]
    assert cv2.CAP_PROP_EXPOSURE not in fake.last.settings


def test_an_exposure_that_the_camera_cannot_do(
    fake: type[FakeCapture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.frames = [(now_ms(), picture())]
    monkeypatch.setattr(fake, "get", lambda self, prop: 50.0 if prop == cv2.CAP_PROP_EXPOSURE else fake_get(self, prop))
    with pytest.raises(Disconnected, match="exposes for 5 ms, exposure_ms asks for 8"):
        exposing(tmp_path, 8.0).open()
    fake.refuses = (cv2.CAP_PROP_EXPOSURE,)
    with pytest.raises(Disconnected, match="does not take an exposure of 8 ms: take exposure_ms out"):
        exposing(tmp_path, 8.0).open()
    assert fake.last.released


fake_get = FakeCapture.get


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
    with pytest.raises(Disconnected, match="gives 16x12 at 15 fps, 8x6 at 30 was asked for; the device lists no modes"):
        camera.open()
    assert fake.last.released
    with pytest.raises(Disconnected, match="not open"):
        camera.read_into(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 0.1)


def test_a_camera_without_frames(fake: type[FakeCapture], camera: Device) -> None:
    with pytest.raises(Disconnected, match="gives no frames"):
        camera.open()


def test_a_camera_that_this_user_may_not_open(camera: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencv.os, "access", lambda path, mode: False)
    with pytest.raises(Disconnected, match="video0: permission denied: add this user to the device's group"):
        camera.open()


def test_what_is_no_camera(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The real OpenCV, which would talk on stderr."""
    (tmp_path / "file").write_text("no camera")
    for device, says in (("video9", "does not exist; cameras on this machine: "), ("file", "is busy or no camera")):
        with pytest.raises(Disconnected, match=says):
            Device(CameraSettings("base", f"{tmp_path}/{device}", WIDTH, HEIGHT, FPS)).open()
    assert capfd.readouterr() == ("", "")
