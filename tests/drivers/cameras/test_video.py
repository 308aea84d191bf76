"""A film as a camera: its pictures in order and in RGB at its own rate, again and again, and films that do not fit."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivers.cameras.base import CameraSettings, Frame
from drivers.cameras.video import Device
from drivers.errors import Corrupt, Disconnected, Timeout
from tests.drivers.fake_time import FakeTime

ROOT = Path(__file__).resolve().parents[3]
WIDTH, HEIGHT, FPS, COUNT = 64, 48, 25.0, 8
PERIOD_NS = 40_000_000


@pytest.fixture(autouse=True)
def fake_time(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeTime.now_ns = 5_000_000_000
    monkeypatch.setattr("drivers.cameras.images.time", FakeTime)
    monkeypatch.setattr("drivers.cameras.images.threading", FakeTime)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Eight pictures; the red of number k is 30·k, and nothing is blue."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (WIDTH, HEIGHT))
    for k in range(COUNT):
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        picture[..., 2] = 30 * k
        writer.write(picture)
    writer.release()
    return path


def camera(device: object, width: int = WIDTH, height: int = HEIGHT, fps: float = FPS) -> Device:
    return Device(CameraSettings("base", str(device), width, height, fps))


def shown(frame: Frame) -> int:
    """Which picture of the film it is."""
    red, green, blue = frame.reshape(-1, 3).mean(axis=0)
    assert max(green, blue) < 10
    return round(red / 30)


def test_pictures_come_in_order_at_their_rate_and_then_it_is_silent(film: Path) -> None:
    eye, frame = camera(film), np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    eye.open()
    seen, stamps = [], []
    for _ in range(COUNT):
        stamps.append(eye.read_into(frame, 1.0))
        seen.append(shown(frame))
    assert seen == list(range(COUNT))
    assert np.diff([stamp.capture_ns for stamp in stamps]).tolist() == [PERIOD_NS] * (COUNT - 1)
    assert {stamp.source for stamp in stamps} == {"device"}
    with pytest.raises(Timeout, match="no frame after the last of 8 pictures"):
        eye.read_into(frame, 0.1)


def test_a_late_reader_gets_the_newest_and_a_loop_begins_again(film: Path) -> None:
    eye, frame, seen = camera(f"{film}?loop"), np.zeros((HEIGHT, WIDTH, 3), np.uint8), []
    eye.open()
    for wait_s in (0.0, 0.12, 0.0, 0.2, 0.0):
        FakeTime.sleep(wait_s)
        eye.read_into(frame, 1.0)
        seen.append(shown(frame))
    assert seen == [0, 3, 4, 1, 2]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"fps": 30.0}, "film.avi: filmed at 25 fps, but fps asks for 30"),
        ({"width": 32}, "film.avi: pictures are 64x48, but width and height ask for 32x48"),
    ],
)
def test_another_mode_than_the_films(film: Path, asked: dict[str, float], says: str) -> None:
    with pytest.raises(Disconnected, match=says):
        camera(film, **asked).open()  # type: ignore[arg-type]


def test_what_is_no_film(tmp_path: Path) -> None:
    """In a process of its own, whose FFmpeg has not been spoken to yet, and which says no more than we do."""
    (tmp_path / "text.mp4").write_text("no film")
    code = (
        "import sys; from drivers.cameras.base import CameraSettings; from drivers.cameras.video import Device\n"
        "for path in sys.argv[1:]:\n"
        "    try: Device(CameraSettings('base', path, 64, 48, 25.0)).open()\n"
        "    except Exception as error: print(type(error).__name__, error)"
    )
    films = [str(tmp_path / name) for name in ("none.mp4", "text.mp4")]
    done = subprocess.run([sys.executable, "-c", code, *films], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"Disconnected camera base: {film}: no video that OpenCV's FFmpeg reads" for film in films
    ]


def test_a_film_that_is_cut_off(film: Path) -> None:
    """It says that there are eight pictures, and has fewer."""
    data = film.read_bytes()
    film.write_bytes(data[: [match.start() for match in re.finditer(b"00dc", data)][5]])
    eye, frame, seen = camera(film), np.zeros((HEIGHT, WIDTH, 3), np.uint8), list[int]()
    eye.open()

    def watch() -> None:
        while True:
            eye.read_into(frame, 1.0)
            seen.append(shown(frame))

    with pytest.raises(Corrupt, match=r"camera base: .*film\.avi: picture \d of 8 does not decode"):
        watch()
    assert seen == list(range(len(seen)))
    assert 3 <= len(seen) <= 5
