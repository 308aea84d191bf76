"""Frames by their time: the nearest, in any order, from any thread, without seeking where they are read in order."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from calibration.datasets.base import DatasetError, Frames
from tests.calibration import lerobot_writer as writer

SHAPE = (writer.HEIGHT, writer.WIDTH, 3)
COUNT = 40
LOSSY = 8


def colour(number: int) -> tuple[int, int, int]:
    """Of frame `number`: any two differ by more than a codec may be off."""
    return 40 + 40 * (number // 8), 20 + 28 * (number % 8), 40


def write(path: Path, *, fps: int = writer.FPS, codec: str = "mpeg4", gop: int = 12) -> Path:
    """Flat pictures of their number's colour."""
    frames = (np.full((writer.HEIGHT, writer.WIDTH, 3), colour(number), np.uint8) for number in range(COUNT))
    writer.write_video(path, frames, fps=fps, codec=codec, gop=gop)
    return path


def clip(path: Path, times_s: list[float], *, from_s: float = 0.0) -> Frames:
    from calibration.lerobot.episodes import Clip
    from calibration.lerobot.video import Videos

    return Videos(writer.FPS).frames(Clip(path, from_s, math.inf), SHAPE, times_s, "here")


def number_of(frame: np.ndarray) -> int:
    """Which frame it is."""
    off = [np.abs(frame.mean((0, 1)) - colour(number)).max() for number in range(COUNT)]
    assert min(off) <= LOSSY
    return int(np.argmin(off))


STEPS_S = [number / writer.FPS for number in range(COUNT)]


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
@pytest.mark.parametrize("gop", [1, 12, 250])
def test_any_order_gives_the_same_frames(tmp_path: Path, codec: str, gop: int) -> None:
    if codec not in writer.av.codecs_available:
        pytest.skip(f"this av cannot write {codec}")
    frames = clip(write(tmp_path / "a.mp4", codec=codec, gop=gop), STEPS_S)
    ordered = [frames[step] for step in range(COUNT)]
    assert [number_of(frame) for frame in ordered] == list(range(COUNT))
    for step in [39, 0, 38, 1, 1, 20, 19, 21, 5, 30, 39, 39]:
        np.testing.assert_array_equal(frames[step], ordered[step])


def test_in_order_it_seeks_once(tmp_path: Path) -> None:
    from calibration.lerobot.video import _Video

    frames = clip(write(tmp_path / "a.mp4"), STEPS_S)
    with mock.patch.object(_Video, "_seek", autospec=True, side_effect=_Video._seek) as seek:
        for step in range(COUNT):
            frames[step]
        assert seek.call_count == 1
        frames[10]
        assert seek.call_count == 2


@pytest.mark.parametrize("shift_s", [-0.04, 0.0, 0.04])
def test_half_a_frame_off_is_that_frame(tmp_path: Path, shift_s: float) -> None:
    frames = clip(write(tmp_path / "a.mp4"), [s + shift_s for s in STEPS_S[1:]])
    assert [number_of(frames[step]) for step in range(len(frames))] == list(range(1, COUNT))


def test_the_nearest_of_a_faster_video(tmp_path: Path) -> None:
    """At twice the rate there are three frames within half a step: the middle one is meant."""
    frames = clip(write(tmp_path / "a.mp4", fps=2 * writer.FPS), STEPS_S[: COUNT // 2])
    assert [number_of(frames[step]) for step in range(len(frames))] == list(range(0, COUNT, 2))


def test_an_episode_that_begins_within_a_file(tmp_path: Path) -> None:
    frames = clip(write(tmp_path / "a.mp4"), STEPS_S[:10], from_s=1.7)
    assert [number_of(frames[step]) for step in range(10)] == list(range(17, 27))


@pytest.mark.parametrize("at_s", [COUNT / writer.FPS, 1e5, 2e9])
def test_times_without_a_frame(tmp_path: Path, at_s: float) -> None:
    frames = clip(write(tmp_path / "a.mp4"), [at_s, 0.0])
    with pytest.raises(DatasetError, match=r"^here, step 0: (no frame at|does not decode|cannot be read)"):
        frames[0]
    assert number_of(frames[1]) == 0, "and it is none the worse for it"


def test_few_files_are_open_at_once(tmp_path: Path) -> None:
    from calibration.lerobot.episodes import Clip
    from calibration.lerobot.video import Videos

    first = write(tmp_path / "0.mp4")
    paths = [first, *(tmp_path / f"{i}.mp4" for i in range(1, 40))]
    for path in paths[1:]:
        path.hardlink_to(first)
    videos = Videos(writer.FPS)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    clips = [videos.frames(Clip(path, 0.0, math.inf), SHAPE, STEPS_S, str(path)) for path in paths]
    for step in (3, 7):
        assert {number_of(frames[step]) for frames in clips} == {step}
    assert len(os.listdir("/proc/self/fd")) - before <= 16  # noqa: PTH208


def test_threads_share_a_file(tmp_path: Path) -> None:
    frames = clip(write(tmp_path / "a.mp4"), STEPS_S)
    wrong: list[object] = []

    def read(order: list[int]) -> None:
        try:
            wrong.extend(step for step in order if number_of(frames[step]) != step)
        except BaseException as error:  # noqa: BLE001
            wrong.append(error)

    orders = [list(range(COUNT)), list(range(COUNT))[::-1], [7, 30] * 10]
    threads = [threading.Thread(target=read, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
