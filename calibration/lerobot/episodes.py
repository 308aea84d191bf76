"""Which episodes a LeRobotDataset lists, and where the rows and the frames of each are.

v2.1  meta/episodes.jsonl, meta/tasks.jsonl; a data file an episode, a video file an episode and camera
v3.0  meta/episodes/chunk-*/file-*.parquet, meta/tasks.parquet; files of many episodes: rows in order of episodes, and
      in a video each episode from its `from_timestamp` to its `to_timestamp`
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from calibration.datasets.base import DatasetError
from calibration.lerobot import tables
from calibration.lerobot.info import Info, decode, place, read_bytes

_MOST_STEPS = 10_000_000
"""In an episode: beyond this a number is damage."""
_TEXTS = ("task", "__index_level_0__")
"""Where tasks.parquet has the texts: they are the index of a pandas table, which has not always had a name."""
T = TypeVar("T")


@dataclass(frozen=True)
class Clip:
    """Frames of one camera over one episode: [from_s, to_s] of a video file."""

    path: Path
    from_s: float
    to_s: float


@dataclass(frozen=True)
class Listed:
    """One episode of `length` steps: rows [first, first + length) of `data`, and a clip for each camera on video."""

    index: int
    length: int
    data: Path
    first: int
    clips: Mapping[str, Clip]


class _Line(msgspec.Struct, frozen=True):
    episode_index: int
    length: int


class _Task(msgspec.Struct, frozen=True):
    task_index: int
    task: str


class _Row(msgspec.Struct, frozen=True):
    episode_index: int
    length: int
    chunk: int = msgspec.field(name="data/chunk_index")
    file: int = msgspec.field(name="data/file_index")


class _ClipRow(msgspec.Struct, frozen=True):
    chunk_index: int
    file_index: int
    from_timestamp: float
    to_timestamp: float


def read_episodes(folder: Path, info: Info, videos: Sequence[str]) -> list[Listed]:
    """Every episode in the order of its number. `videos` are the cameras that are stored as video."""
    if videos and info.video_path is None:
        raise DatasetError(f"{folder}/meta/info.json: features are videos, and there is no video_path")
    read = _many_a_file if info.codebase_version == "v3.0" else _one_a_file
    found = sorted(read(folder, info, videos), key=lambda listed: listed.index)
    for before, one in zip([None, *found], found, strict=False):
        if one.index < 0 or (before is not None and before.index == one.index):
            raise DatasetError(f"{folder}/meta: episode {one.index} is listed twice, or is none")
        if not 1 <= one.length <= _MOST_STEPS:
            raise DatasetError(f"{folder}/meta: episode {one.index} of {one.length} steps")
    if len(found) != info.total_episodes:
        raise DatasetError(f"{folder}/meta: {len(found)} episodes are listed, info.json promises {info.total_episodes}")
    return found


def read_tasks(folder: Path, info: Info) -> dict[int, str]:
    """Instructions by their number."""
    if info.codebase_version != "v3.0":
        return {task.task_index: task.task for task in _lines(folder / "meta" / "tasks.jsonl", _Task)}
    path = folder / "meta" / "tasks.parquet"
    text = next((name for name in _TEXTS if name in tables.names(path)), _TEXTS[0])
    rows = tables.read_rows(path, ["task_index", text])
    tasks = (_converted({"task_index": row["task_index"], "task": row[text]}, _Task, path) for row in rows)
    return {task.task_index: task.task for task in tasks}


def _one_a_file(folder: Path, info: Info, videos: Sequence[str]) -> Iterator[Listed]:
    for line in _lines(folder / "meta" / "episodes.jsonl", _Line):
        index = line.episode_index
        fields = {"episode_chunk": index // info.chunks_size, "episode_index": index}
        clips = {v: Clip(place(folder, info.video_path or "", video_key=v, **fields), 0.0, math.inf) for v in videos}
        yield Listed(index, line.length, place(folder, info.data_path, **fields), 0, clips)


def _many_a_file(folder: Path, info: Info, videos: Sequence[str]) -> Iterator[Listed]:
    columns = [f"videos/{video}/{field}" for video in videos for field in _ClipRow.__struct_fields__]
    columns += ["episode_index", "length", "data/chunk_index", "data/file_index"]
    paths = sorted((folder / "meta" / "episodes").glob("*/*.parquet"))
    if not paths:
        raise DatasetError(f"{folder}/meta/episodes: no parquet files")
    rows = [(_converted(row, _Row, path), row, path) for path in paths for row in tables.read_rows(path, columns)]
    first: dict[Path, int] = {}
    for episode, row, path in sorted(rows, key=lambda item: item[0].episode_index):
        data = place(folder, info.data_path, chunk_index=episode.chunk, file_index=episode.file)
        clips = {video: _clip(folder, info, video, row, path) for video in videos}
        yield Listed(episode.episode_index, episode.length, data, first.get(data, 0), clips)
        first[data] = first.get(data, 0) + episode.length


def _clip(folder: Path, info: Info, video: str, row: Mapping[str, object], path: Path) -> Clip:
    found = _converted({name: row[f"videos/{video}/{name}"] for name in _ClipRow.__struct_fields__}, _ClipRow, path)
    if not 0 <= found.from_timestamp <= found.to_timestamp < math.inf:
        raise DatasetError(f"{path}: {video!r} from {found.from_timestamp} to {found.to_timestamp} s")
    fields = {"chunk_index": found.chunk_index, "file_index": found.file_index}
    file = place(folder, info.video_path or "", video_key=video, **fields)
    return Clip(file, found.from_timestamp, found.to_timestamp)


def _converted(row: Mapping[str, object], form: type[T], path: Path) -> T:
    try:
        return msgspec.convert(row, form)
    except msgspec.ValidationError as error:
        raise DatasetError(f"{path}: {error}") from error


def _lines(path: Path, form: type[T]) -> Iterator[T]:
    for number, line in enumerate(read_bytes(path).splitlines(), start=1):
        if line.strip():
            yield decode(line, form, f"{path}, line {number}")
