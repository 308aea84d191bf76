"""A robot's own recording as a dataset: everything comes back, and damage costs what stands behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibration.datasets.base import DatasetError, Episode
from calibration.datasets.recording import Reader
from edge_runtime.recording_spec import DESCRIPTION, encode, episode_path, read_description, read_steps
from tests.calibration.whole import decode_all
from tests.edge_runtime.fakes import robot as bench_arm
from tests.edge_runtime.recordings import HEIGHT, WIDTH, actions, frame, record, state

TASKS = [["fetch"] * 3, ["bring", "put", "put"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    record(tmp_path, TASKS)
    return tmp_path


def read(folder: Path) -> tuple[list[Episode], list[str]]:
    """The episodes that can be read, and what was said of the damage."""
    errors: list[DatasetError] = []
    return list(Reader(folder).episodes(errors.append)), list(map(str, errors))


def test_everything_comes_back(folder: Path) -> None:
    reader = Reader(folder)
    names = tuple(joint.name for joint in bench_arm().joints)
    assert (reader.name, reader.cameras, reader.format) == ("bench arm", ("base", "wrist"), "recording")
    assert reader.state_names == reader.action_names == names
    assert reader.rate_hz == pytest.approx(20.0)
    assert len(reader) == 2
    for _ in range(2):  # as often as needed
        number = 0
        episodes = list(reader)
        assert [e.index for e in episodes] == [0, 1, 2]
        assert [(e.instruction, len(e)) for e in episodes] == [("fetch", 3), ("bring", 1), ("put", 2)]
        for episode in episodes:
            for row in range(len(episode)):
                np.testing.assert_array_equal(episode.state[row], state(number))
                np.testing.assert_array_equal(episode.action[row], actions(number)[0])
                for camera, frames in episode.frames.items():
                    assert frames[row].shape == (HEIGHT, WIDTH, 3)
                    assert np.abs(frames[row].astype(int) - frame(number, camera)).max() < 12
                number += 1
        assert {len(frames) for frames in episodes[2].frames.values()} == {2}


def test_where_an_episode_is(folder: Path) -> None:
    first, bring, put = Reader(folder)
    file = episode_path(folder, 1)
    assert first.where == f"{episode_path(folder, 0)}, record 0 at byte 0"
    assert bring.where == f"{file}, record 0 at byte 0"
    offsets = [placed.offset for placed in read_steps(file, read_description(folder))]
    assert put.where == f"{file}, record 1 at byte {offsets[1]}"


def test_a_torn_tail_is_refused_or_costs_its_step(folder: Path) -> None:
    file = episode_path(folder, 0)
    offsets = [placed.offset for placed in read_steps(file, read_description(folder))]
    file.write_bytes(file.read_bytes()[:-10])
    says = f"{file}, record 2 at byte {offsets[2]}: the file ends inside the record"
    with pytest.raises(DatasetError) as caught:
        list(Reader(folder))
    assert str(caught.value).startswith(says)
    episodes, (error,) = read(folder)
    assert error.startswith(says)
    assert [(e.index, e.instruction, len(e)) for e in episodes] == [(0, "fetch", 2), (1, "bring", 1), (2, "put", 2)]
    decode_all(episodes[0])


def test_an_episode_without_a_whole_step_is_counted(folder: Path) -> None:
    file = episode_path(folder, 0)
    file.write_bytes(file.read_bytes()[:10])
    episodes, (error,) = read(folder)
    assert error.startswith(f"{file}, record 0 at byte 0: ")
    assert [e.index for e in episodes] == [1, 2]
    file.write_bytes(b"")  # the robot ended before the first step was there: nothing is lost
    assert [e.index for e in Reader(folder)] == [1, 2]
    assert Reader(folder).rate_hz == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("jpeg", "says"),
    [(b"\xff\xd8\xff", "3 bytes that ends early"), (b"", "0 bytes that are neither JPEG nor PNG")],
)
def test_a_frame_that_does_not_decode_is_said_when_it_is_taken(folder: Path, jpeg: bytes, says: str) -> None:
    file = episode_path(folder, 0)
    (_, step), *_ = read_steps(file, read_description(folder))
    step.frames["base"] = jpeg
    file.write_bytes(encode(step))
    episode = next(iter(Reader(folder)))
    assert episode.frames["wrist"][0].shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(DatasetError, match=says) as caught:
        episode.frames["base"][0]
    assert str(caught.value).startswith(f"{file}, record 0 at byte 0, 'base': ")


def test_a_frame_of_another_size_or_a_file_that_went_away(folder: Path) -> None:
    text = (folder / DESCRIPTION).read_text()
    (folder / DESCRIPTION).write_text(text.replace(f'"height": {HEIGHT}', '"height": 25'))
    episode = next(iter(Reader(folder)))
    with pytest.raises(DatasetError, match=r"an image of \(24, 32, 3\), \(25, 32, 3\) was promised"):
        episode.frames["base"][0]
    episode_path(folder, 0).unlink()
    with pytest.raises(DatasetError, match="No such file"):
        episode.frames["base"][0]


def test_another_robots_episodes_are_refused(folder: Path) -> None:
    """A description that is not theirs: each file is as wrong as it would be if its bytes were."""
    text = (folder / DESCRIPTION).read_text()
    (folder / DESCRIPTION).write_text(text.replace('"wrist"', '"front"'))
    with pytest.raises(DatasetError, match="frames of 'base', 'wrist', 'base', 'front' were promised"):
        list(Reader(folder))
    episodes, errors = read(folder)
    assert (episodes, len(errors)) == ([], 2)
    assert Reader(folder).rate_hz is None


def test_what_is_a_recording(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    assert Reader.recognises(folder)
    assert not Reader.recognises(other)
    assert not Reader.recognises(folder / DESCRIPTION)
    with pytest.raises(DatasetError, match="cannot be read: No such file or directory: this is no recording"):
        Reader(other)
    (folder / DESCRIPTION).write_text("{")
    with pytest.raises(DatasetError, match="truncated"):
        Reader(folder)
