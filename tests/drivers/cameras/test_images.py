"""Stored pictures as a camera: order, pacing, stamps, its end, and what it says of files that do not fit."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from drivers.cameras.base import CameraSettings, Frame
from drivers.cameras.images import Device
from drivers.errors import Corrupt, Disconnected, Timeout
from tests.drivers.fake_time import FakeTime

PERIOD_NS = 10_000_000

pytestmark = pytest.mark.usefixtures("fake_time")


@pytest.fixture
def fake_time(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeTime.now_ns = 5_000_000_000
    monkeypatch.setattr("drivers.cameras.images.time", FakeTime)
    monkeypatch.setattr("drivers.cameras.images.threading", FakeTime)


def camera(device: object, width: int = 8, height: int = 6, fps: float = 100.0) -> Device:
    return Device(CameraSettings("base", str(device), width, height, fps))


@pytest.fixture
def stack() -> Frame:
    """Four pictures, each of one grey, with a red corner."""
    pictures = np.zeros((4, 6, 8, 3), np.uint8)
    pictures += np.arange(10, 50, 10, dtype=np.uint8)[:, None, None, None]
    pictures[:, 0, 0] = 255, 0, 0
    return pictures


@pytest.fixture
def frame() -> Frame:
    return np.zeros((6, 8, 3), np.uint8)


@pytest.mark.parametrize("form", ["npy", "folder"])
def test_pictures_come_in_order_at_their_rate(tmp_path: Path, stack: Frame, frame: Frame, form: str) -> None:
    device = tmp_path / "stack.npy"
    np.save(device, stack)
    if form == "folder":
        device = tmp_path / "pictures"
        device.mkdir()
        (device / "notes.txt").write_text("no picture")
        for k, picture in enumerate(stack):
            cv2.imwrite(str(device / f"{k}.png"), picture[..., ::-1])
    eye = camera(device)
    eye.open()
    stamps = []
    for k in range(4):
        stamps.append(eye.read_into(frame, 1.0))
        assert FakeTime.now_ns == stamps[k].capture_ns
        np.testing.assert_array_equal(frame, stack[k])
    assert [s.frame_id for s in stamps] == [0, 1, 2, 3]
    assert np.diff([s.capture_ns for s in stamps]).tolist() == [PERIOD_NS] * 3
    began_ns = FakeTime.now_ns
    with pytest.raises(Timeout, match="no frame after the last of 4 pictures"):
        eye.read_into(frame, 0.03)
    assert FakeTime.now_ns == began_ns + 30_000_000
    eye.close()
    eye.close()
    with pytest.raises(Disconnected, match="not open"):
        eye.read_into(frame, 0.01)
    eye.open()
    with pytest.raises(Timeout, match="after the last"):
        eye.read_into(frame, 0.01)


def test_a_loop_begins_again(tmp_path: Path, stack: Frame, frame: Frame) -> None:
    np.save(tmp_path / "stack.npy", stack[:2])
    eye = camera(f"{tmp_path}/stack.npy?loop")
    eye.open()
    seen = []
    for _ in range(5):
        eye.read_into(frame, 1.0)
        seen.append(int(frame[1, 1, 0]))
    assert seen == [10, 20, 10, 20, 10]


def test_a_late_reader_gets_the_newest(stack: Frame, frame: Frame) -> None:
    eye = camera("play")
    eye.open()
    start_ns = FakeTime.now_ns
    eye.play(np.concatenate([stack] * 2), start_ns)
    FakeTime.sleep(0.025)
    first = eye.read_into(frame, 1.0)
    assert (first.capture_ns, first.frame_id, frame[1, 1, 0]) == (start_ns + 2 * PERIOD_NS, 0, 30)
    assert FakeTime.now_ns == start_ns + 25_000_000, "it was there already"
    FakeTime.sleep(0.030)
    later = eye.read_into(frame, 1.0)
    assert (later.capture_ns, frame[1, 1, 0]) == (start_ns + 5 * PERIOD_NS, 20)
    assert later.frame_id == 3, "pictures that nobody came for are counted"


def test_until_its_start_it_shows_the_first(stack: Frame, frame: Frame) -> None:
    eye = camera("play")
    eye.open()
    with pytest.raises(Timeout, match="after the last of 0 pictures"):
        eye.read_into(frame, 0.01)
    start_ns = FakeTime.now_ns + 25_000_000
    eye.play(stack, start_ns)
    shown = [((eye.read_into(frame, 1.0).capture_ns - start_ns) / PERIOD_NS, int(frame[1, 1, 0])) for _ in range(6)]
    assert shown == [(-3, 10), (-2, 10), (-1, 10), (0, 10), (1, 20), (2, 30)]


def test_other_pictures_go_on_where_the_last_ones_were(stack: Frame, frame: Frame) -> None:
    """No capture time comes twice, and none goes back, whatever is played next."""
    eye = camera("play")
    eye.open()
    began_ns = FakeTime.now_ns
    eye.play(stack[:1], began_ns, loop=True)
    stamps = [eye.read_into(frame, 1.0) for _ in range(3)]
    eye.play(stack, began_ns + 2 * PERIOD_NS)
    stamps += [eye.read_into(frame, 1.0) for _ in range(2)]
    assert [(s.capture_ns - began_ns) / PERIOD_NS for s in stamps] == [0, 1, 2, 3, 4]
    assert [s.frame_id for s in stamps] == [0, 1, 2, 3, 4]
    assert frame[1, 1, 0] == 30, "the third: the first was on show until then"


def test_who_waits_sees_what_is_played_meanwhile(stack: Frame, frame: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    eye = camera("play")
    eye.open()
    waits = []

    def meanwhile(seconds: float) -> None:
        waits.append(seconds)
        FakeTime.sleep(0.002)
        eye.play(stack, FakeTime.now_ns)

    monkeypatch.setattr(FakeTime.Event, "wait", lambda _, seconds: meanwhile(seconds))
    assert eye.read_into(frame, 5.0).capture_ns == FakeTime.now_ns
    assert waits == [5.0]
    assert frame[1, 1, 0] == 10


def test_a_frame_later_than_the_timeout(stack: Frame, frame: Frame) -> None:
    eye = camera("play", fps=1.0)
    eye.open()
    eye.play(stack, FakeTime.now_ns)
    eye.read_into(frame, 0.01)
    with pytest.raises(Timeout, match="no frame within 10 ms"):
        eye.read_into(frame, 0.01)


@pytest.mark.parametrize(
    ("device", "says"),
    [
        ("nowhere", "nowhere: No such file or directory"),
        ("empty", "no pictures there"),
        ("big", "pictures are 16x12, but width and height ask for 8x6"),
        ("big.npy", "pictures are 16x12, but width and height ask for 8x6"),
        ("text.npy", "neither a folder nor an .npy file"),
        ("grey.npy", r"not one array of uint8 \[T, height, width, 3\]"),
        ("none.npy", "no pictures there"),
        ("big.npy?hold", '"\\?hold" is unknown, only "\\?loop"'),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("big").mkdir()
    cv2.imwrite("big/0.png", np.zeros((12, 16, 3), np.uint8))
    np.save("big.npy", np.zeros((2, 12, 16, 3), np.uint8))
    np.save("grey.npy", np.zeros((2, 6, 8), np.uint8))
    np.save("none.npy", np.zeros((0, 6, 8, 3), np.uint8))
    Path("text.npy").write_text("no array")
    with pytest.raises(Disconnected, match=says) as caught:
        camera(device).open()
    assert str(caught.value).startswith("camera base: ")
    assert "\n" not in str(caught.value)


def test_a_picture_that_does_not_decode(tmp_path: Path, stack: Frame, frame: Frame) -> None:
    for k in range(2):
        cv2.imwrite(f"{tmp_path}/{k}.png", stack[k])
    data = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(data[:30] + bytes(len(data) - 30))
    eye = camera(tmp_path)
    eye.open()
    eye.read_into(frame, 1.0)
    with pytest.raises(Corrupt, match=r"camera base: .*1\.png does not decode"):
        eye.read_into(frame, 1.0)
