"""LeRobotDatasets from disk: both versions, frames in rows and on video, and damage of every kind with its place."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.datasets.base import DatasetError
from calibration.datasets.lerobot import Reader
from tests.calibration import lerobot_writer as writer
from tests.calibration.lerobot_writer import BASE, CAMERAS, STEPS, WRIST
from tests.calibration.whole import decode_all, whole_episodes

VERSIONS = ("v2.1", "v3.0")
DATA = {
    "v2.1": "data/chunk-000/episode_000001.parquet",
    "v3.0": "data/chunk-000/file-000.parquet",
}
VIDEO = {
    "v2.1": f"videos/chunk-000/{WRIST}/episode_000001.mp4",
    "v3.0": f"videos/{WRIST}/chunk-000/file-000.mp4",
}
LOSSY = 6
"""Grey levels that a codec may be off on a flat picture."""


def read(path: Path) -> tuple[list[int], list[str]]:
    """Indices of the episodes that are whole, images included, and what was said of the others."""
    whole, errors = whole_episodes(Reader(path))
    assert not any("\n" in str(error) for error in errors)
    return whole, [str(error) for error in errors]


def read_strictly(path: Path) -> None:
    for episode in Reader(path):
        decode_all(episode)


def refused(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        read_strictly(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit_info(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "meta" / "info.json"
    facts = json.loads(path.read_text())
    edit(facts)
    path.write_text(json.dumps(facts))


def edit_table(path: Path, edit: Callable[[dict[str, list[Any]]], object]) -> None:
    """Columns as lists, changed and written back with the types they had."""
    table = writer.pq.read_table(path)
    columns = table.to_pydict()
    edit(columns)
    fields = [(name, table.schema.field(name).type if name in table.schema.names else None) for name in columns]
    writer.pq.write_table(writer.pa.table({n: writer.pa.array(columns[n], t) for n, t in fields}), path)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("stored", "codec", "row_groups"),
    [("image", "", True), ("image", "", False), ("video", "mpeg4", True), ("video", "libx264", True)],
)
def test_everything_comes_back(tmp_path: Path, version: str, stored: str, codec: str, row_groups: bool) -> None:
    if codec and codec not in writer.av.codecs_available:
        pytest.skip(f"this av cannot write {codec}")
    folder = writer.write_dataset(tmp_path / "tiny", version, stored=stored, codec=codec, row_groups=row_groups)
    reader = Reader(folder)
    assert (reader.format, reader.name, reader.cameras, reader.rate_hz, len(reader)) == (
        f"lerobot {version}",
        "tiny",
        CAMERAS,
        10.0,
        3,
    )
    assert reader.state_names == ("step", "episode", "half")
    assert reader.action_names == ("left", "right")
    assert reader.vectors == ("observation.grip", "observation.state")
    for _ in range(2):  # as often as needed
        episodes = list(reader)
        assert [e.index for e in episodes] == [0, 1, 2]
        for episode in episodes:
            assert episode.instruction == writer.TASKS[episode.index % 2]
            np.testing.assert_array_equal(episode.state, writer.state(episode.index))
            np.testing.assert_array_equal(episode.action, writer.action(episode.index))
            np.testing.assert_array_equal(episode.vectors["observation.grip"][:, 0], np.arange(STEPS) / 4)
            for camera in CAMERAS:
                assert len(episode.frames[camera]) == len(episode) == STEPS
                for step in range(STEPS):
                    wanted = writer.picture(episode.index, step, camera).astype(int)
                    off = np.abs(episode.frames[camera][step] - wanted).max()
                    assert off <= (LOSSY if stored == "video" else 0)


def test_av1_which_lerobot_records_by_default(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if not {"libsvtav1", "libdav1d"} <= writer.av.codecs_available:
        pytest.skip("this av has no AV1")
    folder = writer.write_dataset(tmp_path / "tiny", "v3.0", codec="libsvtav1", gop=2)
    for episode in Reader(folder):
        for step in (5, 2):
            wanted = writer.picture(episode.index, step, BASE).astype(int)
            assert np.abs(episode.frames[BASE][step] - wanted).max() <= LOSSY


def test_a_dataset_is_recognised_by_its_description(tmp_path: Path) -> None:
    assert Reader.recognises(writer.write_dataset(tmp_path / "tiny", stored="image"))
    assert not Reader.recognises(tmp_path)


def test_an_image_is_decoded_when_taken_and_not_before(tmp_path: Path) -> None:
    folder = writer.write_dataset(tmp_path / "tiny", stored="image")

    def damage(columns: dict[str, list[Any]]) -> None:
        columns[BASE][3] = {**columns[BASE][3], "bytes": b"\x89PNG\r\n\x1a\n"}

    edit_table(folder / DATA["v2.1"], damage)
    frames = list(Reader(folder))[1].frames[BASE]
    np.testing.assert_array_equal(frames[2], writer.picture(1, 2, BASE))
    with pytest.raises(DatasetError, match=f"episode_000001.parquet, episode 1, '{BASE}', step 3: an image of 8 bytes"):
        frames[3]
    assert read(folder)[0] == [0, 2]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_truncated_table(tmp_path: Path, version: str) -> None:
    folder = writer.write_dataset(tmp_path / "tiny", version, stored="image")
    path = folder / DATA[version]
    path.write_bytes(path.read_bytes()[:-1000])
    whole, errors = read(folder)
    lost = [1] if version == "v2.1" else [0, 1, 2]
    assert whole == [index for index in range(3) if index not in lost]
    assert [error.partition(": ")[0] for error in errors] == [f"{path}, episode {index}" for index in lost]
    assert all("cannot be read as parquet" in error for error in errors)
    assert refused(folder) == errors[0]


def test_a_damaged_row_group_costs_its_episode(tmp_path: Path) -> None:
    folder = writer.write_dataset(tmp_path / "tiny", "v3.0", stored="image")
    path = folder / DATA["v3.0"]
    chunk = writer.pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    data[chunk.dictionary_page_offset or chunk.data_page_offset] ^= 0xFF  # the header of its first page
    path.write_bytes(data)
    whole, errors = read(folder)
    assert whole == [0, 2]
    assert len(errors) == 1
    assert errors[0].startswith(f"{path}, episode 1: row group 1 cannot be read as parquet: ")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["data", "video"])
def test_a_missing_file(tmp_path: Path, version: str, kind: str) -> None:
    folder = writer.write_dataset(tmp_path / "tiny", version)
    path = folder / (DATA if kind == "data" else VIDEO)[version]
    path.unlink()
    whole, errors = read(folder)
    assert whole == ([0, 2] if version == "v2.1" else [])
    assert all(error.startswith(f"{path}, episode ") for error in errors)
    assert "o such file" in errors[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_video_that_ends_early(tmp_path: Path, version: str) -> None:
    """Its last frames are missing: the episodes before are whole."""
    folder = writer.write_dataset(tmp_path / "tiny", version)
    path = folder / VIDEO[version]
    lost = 1 if version == "v2.1" else 2
    frames = writer.pictures(1, WRIST)[:-2]
    if version == "v3.0":
        frames = [writer.picture(e, step, WRIST) for e in range(3) for step in range(STEPS)][:-2]
    writer.write_video(path, frames)
    at_s = STEPS - 2 + (2 * STEPS if version == "v3.0" else 0)
    whole, errors = read(folder)
    assert whole == [index for index in range(3) if index != lost]
    assert errors == [f"{path}, episode {lost}, '{WRIST}', step {STEPS - 2}: no frame at {at_s / 10:.3f} s"]


def test_a_frame_that_does_not_decode(tmp_path: Path) -> None:
    """One key frame is zeroed: what comes before it, and the next key frame, are still there."""
    folder = writer.write_dataset(tmp_path / "tiny", "v2.1", gop=4)
    path = folder / VIDEO["v2.1"]
    with writer.av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        second_key = [p for p in packets if p.is_keyframe][1]
        at, size, number = second_key.pos, second_key.size, packets.index(second_key)
    data = bytearray(path.read_bytes())
    data[at : at + size] = bytes(size)
    path.write_bytes(data)
    frames = list(Reader(folder))[1].frames[WRIST]
    for step in (0, number - 1):
        assert np.abs(frames[step] - writer.picture(1, step, WRIST).astype(int)).max() <= LOSSY
    with pytest.raises(DatasetError) as caught:
        frames[number]
    assert str(caught.value).startswith(f"{path}, episode 1, '{WRIST}', step {number}: ")
    assert read(folder)[0] == [0, 2]


def test_a_video_of_another_size(tmp_path: Path) -> None:
    folder = writer.write_dataset(tmp_path / "tiny")

    def wider(facts: dict[str, Any]) -> None:
        facts["features"][WRIST]["shape"] = [3, 24, 48]

    edit_info(folder, wider)
    assert refused(folder).endswith(f"'{WRIST}', step 0: a frame of 24×32, 24×48 was promised")


def test_a_video_that_is_something_else(tmp_path: Path) -> None:
    folder = writer.write_dataset(tmp_path / "tiny")
    (folder / VIDEO["v2.1"]).write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    assert "step 0: cannot be read as mp4" in refused(folder)


WRONG_ROWS: dict[str, tuple[Callable[[dict[str, list[Any]]], object], str]] = {
    "not finite": (lambda c: c["action"].__setitem__(2, [0.0, float("nan")]), "'action' is not finite in step 2"),
    "another episode": (lambda c: c["episode_index"].__setitem__(7, 5), "its rows are of another episode"),
    "no such task": (lambda c: c["task_index"].__setitem__(0, 9), "task 9 is not among the 2 of meta/tasks"),
    "an empty row": (lambda c: c["task_index"].__setitem__(1, None), "'task_index' has 1 empty rows"),
    "no column": (lambda c: c.pop("action"), "0 columns 'action', one is expected"),
    "few rows": (lambda c: [v.pop() for v in c.values()], "the file holds 7 rows, 8 were promised"),
    "back in time": (lambda c: c["timestamp"].__setitem__(0, -1.0), "step 0: at -1.0 s"),
    "no time": (lambda c: c["timestamp"].__setitem__(3, float("nan")), "step 3: at nan s"),
}


@pytest.mark.parametrize(("edit", "says"), WRONG_ROWS.values(), ids=WRONG_ROWS)
def test_rows_that_are_wrong(tmp_path: Path, edit: Callable[[dict[str, list[Any]]], object], says: str) -> None:
    folder = writer.write_dataset(tmp_path / "tiny")
    path = folder / DATA["v2.1"]
    edit_table(path, edit)
    whole, errors = read(folder)
    assert whole == [0, 2]
    assert len(errors) == 1
    assert errors[0].startswith(f"{path}, episode 1")
    assert says in errors[0]


def test_rows_of_another_type(tmp_path: Path) -> None:
    folder = writer.write_dataset(tmp_path / "tiny")
    path = folder / DATA["v2.1"]
    table = writer.pq.read_table(path)
    for column, says in (
        (writer.pa.array([[1.0, 2.0, 3.0]] * STEPS), "'action' is list<item: double> of [3] values, not 2 floats"),
        (writer.pa.array([[1, 2]] * STEPS), "'action' is list<item: int64>"),
        (writer.pa.array(["left"] * STEPS), "'action' is string"),
    ):
        writer.pq.write_table(table.set_column(table.schema.get_field_index("action"), "action", column), path)
        assert says.replace("item", "element") in refused(folder).replace("item", "element")


def test_a_video_of_fewer_seconds_than_its_rows(tmp_path: Path) -> None:
    """A frame behind the end of an episode's clip belongs to the next episode."""
    folder = writer.write_dataset(tmp_path / "tiny", "v3.0")

    def shorter(columns: dict[str, list[Any]]) -> None:
        columns[f"videos/{BASE}/to_timestamp"][0] = 0.5

    edit_table(folder / "meta/episodes/chunk-000/file-000.parquet", shorter)
    whole, errors = read(folder)
    assert whole == [1, 2]
    assert len(errors) == 1
    assert "episode 0, step 6: at 0.6" in errors[0]


WRONG_INFO: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "version": (
        lambda i: i.update(codebase_version="v1.6"),
        "codebase_version is 'v1.6', v2.0, v2.1, v3.0 can be read",
    ),
    "rate": (lambda i: i.update(fps=0), "fps is 0.0"),
    "no state": (lambda i: i["features"].pop("observation.state"), "'observation.state' is not a vector of floats"),
    "chunks": (lambda i: i.update(chunks_size=0), "chunks_size is 0"),
    "more episodes": (lambda i: i.update(total_episodes=5), "3 episodes are listed, info.json promises 5"),
    "no field": (lambda i: i.update(data_path="{nowhere}.parquet"), "has a field 'nowhere'"),
    "no number": (lambda i: i.update(fps="fast"), "Expected `float`"),
    "no videos": (lambda i: i.update(video_path=None), "features are videos, and there is no video_path"),
}


@pytest.mark.parametrize(("edit", "says"), WRONG_INFO.values(), ids=WRONG_INFO)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_description_that_is_wrong(
    tmp_path: Path, version: str, edit: Callable[[dict[str, Any]], object], says: str
) -> None:
    folder = writer.write_dataset(tmp_path / "tiny", version)
    edit_info(folder, edit)
    assert says in refused(folder)


@pytest.mark.parametrize(
    "template",
    [
        "../{episode_index}.parquet",
        "/etc/passwd",
        "data/../../secret",
        "",
        "a{episode_index.__class__}",
        "a{episode_index:99d}",
        "nul\0",
    ],
)
def test_paths_stay_within_the_dataset(tmp_path: Path, template: str) -> None:
    folder = writer.write_dataset(tmp_path / "tiny")
    edit_info(folder, lambda facts: facts.update(data_path=template))
    assert refused(folder).endswith("is not one within the dataset")


def test_a_camera_cannot_lead_out_of_the_dataset(tmp_path: Path) -> None:
    folder = writer.write_dataset(tmp_path / "tiny")
    edit_info(folder, lambda facts: facts["features"].update({"../../../x": facts["features"][BASE]}))
    assert refused(folder).endswith("is not one within the dataset")


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("episodes.jsonl", '{"episode_index": 0, "length": 8}\n{', "meta/episodes.jsonl, line 2: "),
        ("episodes.jsonl", '{"episode_index": 0, "length": 8}\n' * 3, "episode 0 is listed twice"),
        ("episodes.jsonl", '{"episode_index": 0, "length": 0}\n', "episode 0 of 0 steps"),
        ("episodes.jsonl", '{"episode_index": 0, "length": 8}\n', "1 episodes are listed, info.json promises 3"),
        ("tasks.jsonl", "[]", "meta/tasks.jsonl, line 1: "),
        ("tasks.jsonl", None, "meta/tasks.jsonl: No such file"),
    ],
)
def test_lists_that_are_wrong(tmp_path: Path, file: str, text: str | None, says: str) -> None:
    path = writer.write_dataset(tmp_path / "tiny") / "meta" / file
    path.unlink() if text is None else path.write_text(text)
    assert says in refused(tmp_path / "tiny")


@pytest.mark.parametrize(
    ("file", "edit", "says"),
    [
        ("episodes", lambda c: c["length"].__setitem__(0, -8), "episode 0 of -8 steps"),
        ("episodes", lambda c: c.pop("data/file_index"), "0 columns 'data/file_index'"),
        ("episodes", lambda c: c["data/chunk_index"].__setitem__(0, None), "Expected `int`, got `null`"),
        ("episodes", lambda c: c[f"videos/{BASE}/to_timestamp"].__setitem__(0, float("nan")), "from 0.0 to nan s"),
        ("tasks", lambda c: c["task_index"].__setitem__(0, 7), "task 0 is not among the 2 of meta/tasks"),
    ],
)
def test_tables_of_the_description_that_are_wrong(
    tmp_path: Path, file: str, edit: Callable[[dict[str, list[Any]]], object], says: str
) -> None:
    folder = writer.write_dataset(tmp_path / "tiny", "v3.0")
    edit_table(folder / "meta" / ("tasks.parquet" if file == "tasks" else "episodes/chunk-000/file-000.parquet"), edit)
    assert says in refused(folder)


def test_texts_of_tasks_under_the_name_that_newer_releases_write(tmp_path: Path) -> None:
    folder = writer.write_dataset(tmp_path / "tiny", "v3.0", stored="image")
    edit_table(folder / "meta" / "tasks.parquet", lambda c: c.update(task=c.pop("__index_level_0__")))
    assert [episode.instruction for episode in Reader(folder)] == [writer.TASKS[i % 2] for i in range(3)]


def test_depth_is_no_camera(tmp_path: Path) -> None:
    assert "observation.depth" not in Reader(writer.write_dataset(tmp_path / "tiny", stored="image")).cameras


@pytest.fixture(scope="module")
def whole_sets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sets")
    kinds = [(version, stored) for version in VERSIONS for stored in ("video", "image")]
    return [writer.write_dataset(folder / f"{v}-{s}", v, stored=s, episodes=2) for v, s in kinds]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_raise_dataset_errors_only(whole_sets: list[Path], data: st.DataObject) -> None:
    folder = data.draw(st.sampled_from(whole_sets))
    file = data.draw(st.sampled_from(sorted(path for path in folder.rglob("*") if path.is_file())))
    whole = file.read_bytes()
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))] if data.draw(st.booleans()) else damaged)
    try:
        with contextlib.suppress(DatasetError):
            read(folder)
    finally:
        file.write_bytes(whole)


def test_copies_are_read_alike(tmp_path: Path, whole_sets: list[Path]) -> None:
    """What the property test above damages is put back."""
    for folder in whole_sets:
        shutil.copytree(folder, tmp_path / folder.name)
        assert read(tmp_path / folder.name) == ([0, 1], [])
