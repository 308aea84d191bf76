"""A robot's own recording as a LeRobotDataset: our reader and, where it is installed, LeRobot itself read it back."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="LeRobot's videos need av")
pytest.importorskip("pyarrow", reason="LeRobot's tables need pyarrow")

from calibration.datasets import lerobot
from calibration.datasets.base import DatasetError, Episode
from calibration.datasets.recording import Reader
from calibration.lerobot import film
from calibration.lerobot.convert import text, to_lerobot
from calibration.lerobot.film import Film
from calibration.lerobot.writer import Header, Writer
from edge_runtime.cli import main
from edge_runtime.recording_spec import DESCRIPTION, encode, episode_path, read_description, read_steps
from tests.calibration.whole import decode_all
from tests.edge_runtime.recordings import HEIGHT, PERIOD_NS, WIDTH, actions, frame, record, robot, state

TASKS = [["fetch"] * 4, ["bring", "put", "put"]]
BY_HAND = {1, 2}
DT_S = robot()[1].dt_s
CODEC = 16
"""Grey levels that JPEG and the video may be off together on smooth pictures of 24 × 32."""


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    record(tmp_path / "recording", TASKS, by_hand=BY_HAND)
    return tmp_path / "recording"


def due(number: int, after_ns: int) -> np.ndarray:
    """What was due in the chunk of step `number`, so long after its frames."""
    rows, at = actions(number), after_ns / (DT_S * 1e9)
    return rows[int(at)] + np.float32(at - int(at)) * (rows[int(at) + 1] - rows[int(at)])


def test_everything_comes_back_at_the_robots_own_rate(recording: Path, tmp_path: Path) -> None:
    facts = to_lerobot(Reader(recording), tmp_path / "out")
    counts = {"episodes": 3, "frames": 7, "fps": 20, "intervention": 2, "corrupt": []}
    assert facts == {"path": str(tmp_path / "out"), **counts}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "recording"]
    dataset = lerobot.Reader(tmp_path / "out")
    assert (dataset.format, dataset.rate_hz, len(dataset)) == ("lerobot v3.0", 20, 3)
    assert dataset.state_names == Reader(recording).state_names
    number = 0
    for episode, (instruction, steps) in zip(dataset, [("fetch", 4), ("bring", 1), ("put", 2)], strict=True):
        assert (episode.instruction, len(episode)) == (instruction, steps)
        for step in range(steps):
            np.testing.assert_array_equal(episode.state[step], state(number))
            np.testing.assert_allclose(episode.action[step], due(number, 1), atol=1e-6)
            for camera in ("base", "wrist"):
                seen = episode.frames[f"observation.images.{camera}"][step]
                assert np.abs(seen.astype(int) - frame(number, camera)).max() < CODEC
            number += 1


def rows_of(folder: Path) -> dict[str, list[object]]:
    import pyarrow.parquet as pq

    found: dict[str, list[object]] = pq.read_table(folder / "data/chunk-000/file-000.parquet").to_pydict()
    return found


def test_at_another_rate_actions_are_between_those_of_the_chunk_and_what_a_person_drove_is_flagged(
    recording: Path, tmp_path: Path
) -> None:
    facts = to_lerobot(Reader(recording), tmp_path / "out", 40)
    assert (facts["frames"], facts["intervention"]) == (7 + 1 + 3, 4)
    rows = rows_of(tmp_path / "out")
    assert rows["intervention"][:7] == [False, False, True, True, True, True, False]
    assert rows["next.done"] == [False] * 6 + [True] + [True] + [False] * 2 + [True]
    assert rows["index"] == list(range(11))
    assert rows["frame_index"][:8] == [0, 1, 2, 3, 4, 5, 6, 0]
    np.testing.assert_allclose(rows["timestamp"][:3], [0, 0.025, 0.05])
    np.testing.assert_allclose(rows["action"][1], due(0, PERIOD_NS // 2 + 1), atol=1e-6)


def test_the_description_of_the_features(recording: Path, tmp_path: Path) -> None:
    to_lerobot(Reader(recording), tmp_path / "out")
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    assert info["features"]["intervention"] == {"dtype": "bool", "shape": [1], "names": None}
    assert info["features"]["action"]["names"] == list(Reader(recording).action_names)
    assert info["features"]["observation.images.base"]["shape"] == [HEIGHT, WIDTH, 3]
    assert (info["robot_type"], info["splits"], info["total_tasks"]) == ("bench arm", {"train": "0:3"}, 3)
    stats = json.loads((tmp_path / "out/meta/stats.json").read_text())
    assert set(stats) == set(info["features"])
    assert stats["intervention"]["mean"] == pytest.approx([2 / 7])
    np.testing.assert_allclose(stats["observation.state"]["max"], state(6), atol=1e-6)


def test_the_real_lerobot_reads_it_back(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lerobot", reason="lerobot is not installed; it needs another torch than ours")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    to_lerobot(Reader(recording), tmp_path / "out", 40)
    theirs = LeRobotDataset("ours/recording", root=tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert (theirs.fps, theirs.num_episodes, len(theirs)) == (40, 3, 11)
    assert theirs.meta.robot_type == "bench arm"
    begin = 0
    for episode in lerobot.Reader(tmp_path / "out"):
        for step in range(len(episode)):
            item = theirs[begin + step]
            np.testing.assert_array_equal(item["observation.state"].numpy(), episode.state[step])
            np.testing.assert_array_equal(item["action"].numpy(), episode.action[step])
            assert item["task"] == episode.instruction
            assert bool(item["intervention"]) == rows["intervention"][begin + step]
            assert bool(item["next.done"]) == (step == len(episode) - 1)
            for camera, frames in episode.frames.items():
                picture = item[camera].numpy().transpose(1, 2, 0) * 255
                assert np.abs(picture - frames[step]).max() < 4  # two decoders' ways from YUV to RGB
        begin += len(episode)
    assert theirs.meta.stats["observation.images.base"]["mean"].shape == (3, 1, 1)


# ── what cannot be converted ────────────────────────────────────────────────────────────────────────────────────────


def refused(recording: Path, to: Path, *options: object) -> str:
    before = sorted(path.name for path in to.parent.iterdir())
    with pytest.raises(DatasetError) as caught:
        to_lerobot(Reader(recording), to, *options)  # type: ignore[arg-type]
    assert sorted(path.name for path in to.parent.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_is_there_stays_as_it_is(recording: Path, tmp_path: Path) -> None:
    to = tmp_path / "out"
    to.mkdir()
    to_lerobot(Reader(recording), to)
    assert refused(recording, to) == f"{to}: is there already: name a new folder"


def test_rates_that_are_none(recording: Path, tmp_path: Path) -> None:
    assert "--fps 0: 1 to 1000 frames a second" in refused(recording, tmp_path / "out", 0)
    record(tmp_path / "short", [["fetch"]])
    assert "name one with --fps" in refused(tmp_path / "short", tmp_path / "out")
    assert to_lerobot(Reader(tmp_path / "short"), tmp_path / "out", 5)["frames"] == 1


def test_a_delta_is_that_of_its_own_time(recording: Path, tmp_path: Path) -> None:
    path = recording / DESCRIPTION
    path.write_text(path.read_text().replace('"absolute"', '"delta"'))
    says = f"bench arm: an action is how far in {DT_S:g} s: {1 / DT_S:g} frames a second are possible"
    assert refused(recording, tmp_path / "out", 7) == says
    assert to_lerobot(Reader(recording), tmp_path / "out")["fps"] == round(1 / DT_S)


def test_only_recordings_are_converted(recording: Path, tmp_path: Path) -> None:
    to_lerobot(Reader(recording), tmp_path / "out")
    with pytest.raises(DatasetError, match=r"is lerobot v3\.0: only what edge run --record wrote is converted"):
        to_lerobot(lerobot.Reader(tmp_path / "out"), tmp_path / "again")


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ('"name": "wrist"', '"name": "../wrist"', 'camera "../wrist": letters, digits'),
        (f'"height": {HEIGHT}', f'"height": {HEIGHT + 1}', "a video has even sizes"),
    ],
)
def test_cameras_that_no_video_can_be_of(recording: Path, tmp_path: Path, was: str, becomes: str, says: str) -> None:
    path = recording / DESCRIPTION
    path.write_text(path.read_text().replace(was, becomes))
    assert says in refused(recording, tmp_path / "out", 10)


def test_damage_costs_what_stands_behind_it(recording: Path, tmp_path: Path) -> None:
    file = episode_path(recording, 0)
    file.write_bytes(file.read_bytes()[:-10])
    assert "the file ends inside the record" in refused(recording, tmp_path / "out", None, "fail")
    facts = to_lerobot(Reader(recording), tmp_path / "out")
    assert (facts["episodes"], facts["frames"]) == (3, 6)
    (damage,) = facts["corrupt"]
    assert text(facts).endswith(f"left out: {damage}")


def rewritten(recording: Path, field: str, value: object) -> None:
    """The third step of the first task, with another value."""
    path, description = episode_path(recording, 0), read_description(recording)
    steps = [placed.step for placed in read_steps(path, description)]
    fields = {name: getattr(steps[2], name) for name in steps[2].__struct_fields__}
    steps[2] = type(steps[2])(**{**fields, field: value})
    path.write_bytes(b"".join(map(encode, steps)))


def test_times_that_go_backwards_cost_their_episode(recording: Path, tmp_path: Path) -> None:
    rewritten(recording, "capture_ns", 3)
    facts = to_lerobot(Reader(recording), tmp_path / "out")
    assert facts["corrupt"] == [f"{episode_path(recording, 0)}, record 0 at byte 0: its times go backwards"]
    assert facts["episodes"] == 2


def test_a_frame_that_does_not_decode_is_named(recording: Path, tmp_path: Path) -> None:
    rewritten(recording, "frames", {"base": b"\xff\xd8\xff", "wrist": b""})
    assert "record 2 at byte" in refused(recording, tmp_path / "out")


def test_nothing_recorded(recording: Path, tmp_path: Path) -> None:
    for number in (0, 1):
        episode_path(recording, number).write_bytes(b"")
    assert refused(recording, tmp_path / "out", 10) == "bench arm: not one whole step was recorded"


@pytest.fixture
def _small_files(recording: Path) -> Iterator[None]:
    """A disk that takes 6 kB of a file and no more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("_small_files")
def test_a_full_disk_leaves_nothing(recording: Path, tmp_path: Path) -> None:
    assert refused(recording, tmp_path / "out").startswith(f"{tmp_path / 'out'}: cannot be written: ")


def test_the_command(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["dataset", str(recording), "--to-lerobot", str(out), "--fps", "10"]) == 0
    assert capsys.readouterr().out == (
        f"{out}: LeRobotDataset v3.0, 3 episodes, 4 frames at 10 a second\n1 frame with a person's hand\n"
    )
    assert main(["dataset", str(recording), "--fps", "10"]) == 2


# ── large ones ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_video_file_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "FULL_MB", 0)
    header = Header("arm", 10, ("a",), ("a", "b"), {"eye": (HEIGHT, WIDTH)})
    writer = Writer(tmp_path / "out", header)
    for number, steps in enumerate((3, 2)):
        pictures = [frame(10 * number + step, "base") for step in range(steps)]
        numbers = np.arange(steps, dtype=np.float32).reshape(-1, 1)
        episode = Episode(number, "", "fetch", numbers, np.repeat(numbers, 2, axis=1), {"eye": pictures})
        writer.add(episode, np.zeros(steps, np.bool_))
    writer.finish()
    assert len(list((tmp_path / "out/videos").rglob("*.mp4"))) == 2
    for number, episode in enumerate(lerobot.Reader(tmp_path / "out")):
        decode_all(episode)
        seen = episode.frames["observation.images.eye"][1]
        assert np.abs(seen.astype(int) - frame(10 * number + 1, "base")).max() < CODEC


def test_where_an_episode_is_in_its_video(tmp_path: Path) -> None:
    films = Film(tmp_path, "eye", HEIGHT, WIDTH, 4)
    first = films.episode(frame(n, "base") for n in range(6))
    second = films.episode(frame(n, "base") for n in range(3))
    films.close()
    assert first == {"chunk_index": 0, "file_index": 0, "from_timestamp": 0.0, "to_timestamp": 1.5}
    assert (second["from_timestamp"], second["to_timestamp"]) == (1.5, 2.25)
