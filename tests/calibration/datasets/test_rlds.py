"""RLDS from disk: a small dataset of the tests' own, damage of every kind, and the real sample whole."""

import contextlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.datasets.base import DatasetError
from calibration.datasets.rlds import Reader
from tests.calibration import rlds_writer as writer
from tests.calibration.whole import decode_all, whole_episodes


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Three episodes in two files."""
    records = [writer.example(writer.episode(steps=3 + i, instruction=f"task {i}")) for i in range(3)]
    return writer.write_dataset(tmp_path, [records[:2], records[2:]])


def read(path: Path) -> tuple[list[int], list[DatasetError]]:
    """Indices of the episodes that are whole, and what was said of the others."""
    return whole_episodes(Reader(path))


def read_strictly(path: Path) -> None:
    for episode in Reader(path):
        decode_all(episode)


def refused(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        read_strictly(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_everything_comes_back(tmp_path: Path, shards: list[Path]) -> None:
    reader = Reader(tmp_path)
    assert (reader.name, reader.cameras, reader.rate_hz, len(reader)) == ("tiny", ("eye",), None, 3)
    for _ in range(2):  # as often as needed
        episodes = list(reader)
        assert [e.index for e in episodes] == [0, 1, 2]
        for index, episode in enumerate(episodes):
            steps = 3 + index
            t = np.arange(steps, dtype=np.float32)[:, None]
            assert episode.instruction == f"task {index}"
            assert len(episode) == steps
            np.testing.assert_allclose(episode.state, t + np.array([0, 0.1, 0.2]), atol=1e-6)
            np.testing.assert_allclose(episode.action, -t - np.array([0, 0.1]), atol=1e-6)
            assert len(episode.frames["eye"]) == steps
            for step in range(steps):
                np.testing.assert_array_equal(episode.frames["eye"][step], writer.image(step))


def test_a_flipped_byte_costs_one_episode(tmp_path: Path, shards: list[Path]) -> None:
    data = bytearray(shards[0].read_bytes())
    data[200] ^= 1
    shards[0].write_bytes(data)
    assert refused(tmp_path) == f"{shards[0]}, record 0 at byte 0: wrong checksum of the data"
    indices, errors = read(tmp_path)
    assert indices == [1, 2]
    assert len(errors) == 1


def test_a_flipped_length_costs_the_rest_of_its_file(tmp_path: Path, shards: list[Path]) -> None:
    data = bytearray(shards[0].read_bytes())
    data[2] ^= 1
    shards[0].write_bytes(data)
    assert "record 0 at byte 0: wrong checksum of the length" in refused(tmp_path)
    assert read(tmp_path)[0] == [2]


@pytest.mark.parametrize("cut", [1, 5, 300, -1])
def test_a_truncated_file(tmp_path: Path, shards: list[Path], cut: int) -> None:
    data = shards[1].read_bytes()
    shards[1].write_bytes(data[:cut])
    assert "record 0 at byte 0: the file ends inside the record" in refused(tmp_path)
    indices, errors = read(tmp_path)
    assert indices == [0, 1]
    assert len(errors) == 1


def records(shard: Path) -> list[int]:
    """Where each record of a file begins, and where the last one ends."""
    offsets, data = [0], shard.read_bytes()
    while offsets[-1] < len(data):
        offsets.append(offsets[-1] + 16 + int.from_bytes(data[offsets[-1] : offsets[-1] + 8], "little"))
    return offsets


@pytest.mark.parametrize(
    ("at", "says", "whole"),
    [
        (3, "wrong checksum of the length; the rest of the file is lost", [0, 3]),
        (9, "wrong checksum of the length; the rest of the file is lost", [0, 3]),
        (40, "wrong checksum of the data", [0, 2, 3]),
        (-2, "wrong checksum of the data", [0, 2, 3]),
    ],
    ids=["length", "its checksum", "data", "their checksum"],
)
def test_a_flipped_byte_in_the_middle_of_a_file(tmp_path: Path, at: int, says: str, whole: list[int]) -> None:
    record = writer.example(writer.episode())
    shard = writer.write_dataset(tmp_path, [[record] * 3, [record]])[0]
    begin, end = records(shard)[1:3]
    data = bytearray(shard.read_bytes())
    data[begin + at if at > 0 else end + at] ^= 1
    shard.write_bytes(data)
    indices, errors = read(tmp_path)
    assert indices == whole
    assert [str(error) for error in errors] == [f"{shard}, record 1 at byte {begin}: {says}"]


def test_a_file_that_ends_inside_a_later_record(tmp_path: Path) -> None:
    record = writer.example(writer.episode())
    shard = writer.write_dataset(tmp_path, [[record] * 3, [record]])[0]
    begin, end = records(shard)[1:3]
    shard.write_bytes(shard.read_bytes()[: end - 10])
    indices, errors = read(tmp_path)
    assert indices == [0, 3]
    assert [str(error) for error in errors] == [
        f"{shard}, record 1 at byte {begin}: the file ends inside the record "
        f"({end - begin} bytes, {end - begin - 10} left)"
    ]


def test_a_file_cut_between_two_records(tmp_path: Path) -> None:
    shard = writer.write_dataset(tmp_path, [[writer.example(writer.episode())] * 2])[0]
    data = shard.read_bytes()
    shard.write_bytes(data[: len(data) // 2])
    assert refused(tmp_path) == f"{shard}: holds 1 records, 2 were promised"


def test_a_missing_file(tmp_path: Path, shards: list[Path]) -> None:
    shards[0].unlink()
    assert refused(tmp_path) == f"{shards[0]}: No such file or directory"
    assert read(tmp_path)[0] == [2]


BROKEN = {
    "cut image": (writer.png(writer.image(1))[:-20], "an image of .* bytes that ends early"),
    "no image": (b"", "0 bytes that are neither JPEG nor PNG"),
    "garbage": (b"\xff\xd8\xff" + b"garbage" + b"\xff\xd9", "does not decode"),
    "wrong size": (writer.png(writer.image(1, 8, 16)), r"an image of \(8, 16, 3\), \(12, 16, 3\) was promised"),
}


@pytest.mark.parametrize(("image", "says"), BROKEN.values(), ids=BROKEN)
def test_an_image_that_does_not_decode(tmp_path: Path, image: bytes, says: str) -> None:
    broken = writer.episode()
    broken["steps/observation/eye"][2] = image  # type: ignore[call-overload]
    writer.write_dataset(tmp_path, [[writer.example(e) for e in (writer.episode(), broken, writer.episode())]])
    message = refused(tmp_path)
    assert "record 1 at byte" in message
    assert "'eye', step 2: " in message
    assert re.search(says, message)
    assert read(tmp_path)[0] == [0, 2]


def test_an_image_is_decoded_when_taken_and_not_before(tmp_path: Path) -> None:
    broken = writer.episode()
    broken["steps/observation/eye"] = [b"", *broken["steps/observation/eye"][1:]]
    writer.write_dataset(tmp_path, [[writer.example(broken)]])
    frames = next(iter(Reader(tmp_path))).frames["eye"]
    np.testing.assert_array_equal(frames[1], writer.image(1))
    with pytest.raises(DatasetError, match="step 0: 0 bytes"):
        frames[0]


WRONG: dict[str, tuple[str, writer.Value, str]] = {
    "few states": ("steps/observation/state", [1.0] * 11, "has 11 values, not 4 steps of 3"),
    "few images": ("steps/observation/eye", [b""] * 3, "3 images of 'eye' in 4 steps"),
    "integers": ("steps/action", [1] * 8, "'steps/action': holds integers, floats are expected"),
    "not finite": ("steps/action", [0.0] * 5 + [float("nan")] + [0.0] * 2, "'steps/action' is not finite in step 2"),
    "not UTF-8": ("steps/language_instruction", [b"\xff"] * 4, "'steps/language_instruction' is not UTF-8"),
}


@pytest.mark.parametrize(("name", "values", "says"), WRONG.values(), ids=WRONG)
def test_an_episode_of_another_form(tmp_path: Path, name: str, values: writer.Value, says: str) -> None:
    wrong = {**writer.episode(), name: values}
    shard = writer.write_dataset(tmp_path, [[writer.example(wrong), writer.example(writer.episode())]])[0]
    assert refused(tmp_path).startswith(f"{shard}, record 0 at byte 0: ")
    assert says in refused(tmp_path)
    assert read(tmp_path)[0] == [1]


@pytest.mark.parametrize("name", ["steps/observation/eye", "steps/action", "steps/language_instruction"])
def test_a_missing_feature(tmp_path: Path, name: str) -> None:
    features = writer.episode()
    del features[name]
    writer.write_dataset(tmp_path, [[writer.example(features)]])
    assert refused(tmp_path).endswith(f"no feature {name!r}")


def test_an_episode_without_steps(tmp_path: Path) -> None:
    features = writer.episode()
    del features["steps/language_instruction"]
    entry = writer.field(1, b"steps/language_instruction") + writer.field(2, writer.field(1, b""))
    writer.write_dataset(tmp_path, [[writer.example(features) + writer.field(1, writer.field(1, entry))]])
    assert refused(tmp_path).endswith("record 0 at byte 0: an episode without steps")


def change(folder: Path, file: str, edit: object) -> None:
    path = folder / "tiny" / "1.0.0" / file
    if isinstance(edit, str):
        path.write_text(edit)
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), **edit}))  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("file", "edit", "says"),
    [
        ("dataset_info.json", "{", "truncated"),
        ("dataset_info.json", {"fileFormat": "riegeli"}, "'riegeli', only tfrecord"),
        ("dataset_info.json", {"splits": []}, "no split 'train'"),
        ("dataset_info.json", {"splits": [{"name": "train", "shardLengths": ["x"]}]}, "shardLengths"),
        ("dataset_info.json", {"name": "../tiny"}, "named in an unknown way"),
        ("features.json", "[]", "Expected `object`"),
        ("features.json", '{"sequence": {"feature": ' * 5000, "features.json: "),
        ("features.json", "{}", "'steps/observation/state' is not a vector of numbers"),
    ],
)
def test_a_description_that_is_wrong(tmp_path: Path, shards: list[Path], file: str, edit: object, says: str) -> None:
    change(tmp_path, file, edit)
    assert says in refused(tmp_path)
    assert file in refused(tmp_path)


def test_other_vectors_of_the_observation(tmp_path: Path) -> None:
    """Those may hold what nobody asked for, NaN among it; a state may not."""
    features = {**writer.episode(), "steps/observation/speed": [0.5, float("nan")] * 4}
    shard = writer.write_dataset(tmp_path, [[writer.example(features)]])[0]
    path = shard.parent / "features.json"
    description = json.loads(path.read_text())
    steps = description["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]
    observation = steps["observation"]["featuresDict"]["features"]
    observation["speed"] = {
        **observation["state"],
        "tensor": {**observation["state"]["tensor"], "shape": {"dimensions": ["2"]}},
    }
    path.write_text(json.dumps(description))
    reader = Reader(tmp_path)
    assert reader.vectors == ("speed", "state")
    (episode,) = reader
    np.testing.assert_array_equal(episode.vectors["state"], episode.state)
    np.testing.assert_array_equal(episode.vectors["speed"], np.array([[0.5, np.nan]] * 4, np.float32))


def test_a_dataset_is_recognised_by_its_description(tmp_path: Path, shards: list[Path]) -> None:
    assert all(Reader.recognises(path) for path in (tmp_path, tmp_path / "tiny", tmp_path / "tiny" / "1.0.0"))
    assert not Reader.recognises(tmp_path / "nowhere")
    assert not Reader.recognises(shards[0])


def test_where_the_dataset_is(tmp_path: Path, shards: list[Path]) -> None:
    for path in (tmp_path, tmp_path / "tiny", tmp_path / "tiny" / "1.0.0"):
        assert len(list(Reader(path))) == 3
    assert refused(tmp_path / "nowhere").endswith("no features.json there or in <name>/<version> below it")
    writer.write_dataset(tmp_path, [[]], name="other")
    assert "several datasets, name one: " in refused(tmp_path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_raise_dataset_errors_only(tmp_path: Path, shards: list[Path], data: st.DataObject) -> None:
    """Checksums are made good again behind the damage in half of the cases, so that it reaches the parsers."""
    file = data.draw(
        st.sampled_from([shards[1], shards[1].parent / "features.json", shards[1].parent / "dataset_info.json"])
    )
    whole = file.read_bytes()
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    if file is shards[1] and data.draw(st.booleans()):
        damaged = bytearray(writer.frame_record(bytes(damaged[12:-4])))
    file.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))] if data.draw(st.booleans()) else damaged)
    with contextlib.suppress(DatasetError):
        read(tmp_path)
    with contextlib.suppress(DatasetError):
        list(Reader(tmp_path))
    file.write_bytes(whole)


def test_the_real_sample_whole(shared: Path) -> None:
    """25 episodes of BridgeData V2: what a reader that loses or mixes up anything would not answer."""
    reader = Reader(shared / "data" / "bridge_rlds")
    assert reader.cameras == ("image_0", "image_1", "image_2", "image_3")
    assert len(reader) == 25
    episodes = list(reader.episodes())
    assert [e.index for e in episodes] == list(range(25))
    for episode in episodes:
        assert len(episode) == 10
        assert episode.state.shape == episode.action.shape == (10, 7)
        assert np.abs(episode.action[:, :6]).max() < 0.3, "metres and radians a step"
        assert 0 <= episode.action[:, 6].min() <= episode.action[:, 6].max() <= 1, "the gripper, closed to open"
        for camera in ("image_0", "image_1", "image_2"):
            frame = episode.frames[camera][9]
            assert frame.shape == (64, 64, 3)
            assert frame.std() > 20, "a picture, not a blank"
    assert {e.instruction for e in episodes} == {
        "put cup from counter or drying rack into sink",
        "flip pot upright which is in sink",
        "turn lever vertical to front",
        "put carrot on plate",
    }
    sink = episodes[0].frames["image_0"][0][36:42, 52:58].mean((0, 1))
    assert sink[2] > sink[0] + 5, "the sink is light blue: red and blue are not swapped"
