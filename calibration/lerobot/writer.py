"""Writes a LeRobotDataset v3.0: rows in one parquet file, cameras as mp4, and in every row whether a person intervened.

Layout and columns are those of huggingface/lerobot 0.4.4, src/lerobot/datasets/lerobot_dataset.py; `intervention` is
what LeRobot's own rollouts with a person call it (src/lerobot/rollout/strategies/dagger.py, 0.5).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from calibration.datasets.base import Episode, Frame, Frames
from calibration.lerobot import statistics
from calibration.lerobot.film import FULL_MB, PIXELS, Film
from calibration.lerobot.info import ACTION, CHUNKS_SIZE, DATA_PATH, STATE, VIDEO_PATH

IMAGES = "observation.images."
INTERVENTION = "intervention"
DONE = "next.done"
_EPISODES = "meta/episodes/chunk-000/file-000.parquet"
_NUMBERS = {"timestamp": "float32", **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")}


@dataclass(frozen=True)
class Header:
    """What is the same in every episode. `cameras` are (height, width) by name."""

    robot: str
    fps: int
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    cameras: Mapping[str, tuple[int, int]]


class Writer:
    """Episodes into `folder`, which is a dataset after `finish`. Raises `OSError` and `av.FFmpegError`."""

    def __init__(self, folder: Path, header: Header) -> None:
        self._folder = folder
        self._header = header
        self._films = {c: Film(folder, IMAGES + c, *size, header.fps) for c, size in header.cameras.items()}
        self._tasks: dict[str, int] = {}
        self._listed: list[dict[str, Any]] = []
        self._statistics: list[dict[str, statistics.Statistics]] = []
        self._rows: pq.ParquetWriter | None = None
        self.frames = 0
        """In all."""

    @property
    def episodes(self) -> int:
        return len(self._listed)

    def add(self, episode: Episode, intervention: NDArray[np.bool_]) -> None:
        """Write an episode of T steps, `intervention` [T]. Raises `DatasetError` where a frame does not decode."""
        task = self._tasks.setdefault(episode.instruction, len(self._tasks))
        columns = {**self._vectors(episode), **self._numbers(len(episode), task), INTERVENTION: intervention}
        columns[DONE] = np.arange(len(episode)) == len(episode) - 1
        self._append(pa.table({name: _array(values) for name, values in columns.items()}))
        found: dict[str, statistics.Statistics] = {n: statistics.of_rows(values) for n, values in columns.items()}
        listed: dict[str, Any] = {}
        for camera, film in self._films.items():
            sample: list[Frame] = []
            clip = film.episode(_sampling(episode.frames[camera], sample))
            found[IMAGES + camera] = statistics.of_frames(sample)
            listed.update({f"videos/{IMAGES}{camera}/{name}": value for name, value in clip.items()})
        self._list(episode, {**listed, **_flat(found)})
        self._statistics.append(found)

    def close(self) -> None:
        """End the files that are open."""
        rows, self._rows = self._rows, None
        try:
            if rows is not None:
                rows.close()
        finally:
            for film in self._films.values():
                film.close()

    def finish(self) -> None:
        """End the files, and write the description; at least one episode was added."""
        self.close()
        meta = self._folder / "meta"
        _write_table(self._folder / _EPISODES, pa.Table.from_pylist(self._listed))
        _write_table(meta / "tasks.parquet", _task_table(self._tasks))
        whole = {name: statistics.of_all([one[name] for one in self._statistics]) for name in self._statistics[0]}
        _write_json(meta / "stats.json", {n: {k: v.tolist() for k, v in one.items()} for n, one in whole.items()})
        _write_json(meta / "info.json", self._info())

    def _vectors(self, episode: Episode) -> dict[str, NDArray[Any]]:
        """A policy may do without a state."""
        state = {STATE: episode.state} if self._header.state_names else {}
        return {**state, ACTION: episode.action}

    def _numbers(self, length: int, task: int) -> dict[str, NDArray[Any]]:
        step = np.arange(length)
        values = (step / self._header.fps, step, 0 * step + self.episodes, step + self.frames, 0 * step + task)
        return {n: v.astype(dtype) for (n, dtype), v in zip(_NUMBERS.items(), values, strict=True)}

    def _append(self, rows: pa.Table) -> None:
        if self._rows is None:
            path = self._folder / DATA_PATH.format(chunk_index=0, file_index=0)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._rows = pq.ParquetWriter(path, rows.schema)
        self._rows.write_table(rows)

    def _list(self, episode: Episode, more: Mapping[str, Any]) -> None:
        """In the table of episodes."""
        entry = {"episode_index": self.episodes, "tasks": [episode.instruction], "length": len(episode)}
        begin, self.frames = self.frames, self.frames + len(episode)
        places = {"dataset_from_index": begin, "dataset_to_index": self.frames}
        zeros = dict.fromkeys((f"{of}/{what}" for of in ("data", "meta/episodes") for what in _PLACE), 0)
        self._listed.append({**entry, **places, **zeros, **more})

    def _info(self) -> dict[str, Any]:
        return {
            "codebase_version": "v3.0",
            "robot_type": self._header.robot,
            "total_episodes": self.episodes,
            "total_frames": self.frames,
            "total_tasks": len(self._tasks),
            "chunks_size": CHUNKS_SIZE,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": FULL_MB,
            "fps": self._header.fps,
            "splits": {"train": f"0:{self.episodes}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self._films else None,
            "features": self._features(),
        }

    def _features(self) -> dict[str, Any]:
        header = self._header
        state = {STATE: _feature("float32", header.state_names)} if header.state_names else {}
        cameras = {IMAGES + name: _video(*size, header.fps) for name, size in header.cameras.items()}
        flags = {name: _feature("bool") for name in (INTERVENTION, DONE)}
        numbers = {name: _feature(dtype) for name, dtype in _NUMBERS.items()}
        return {**state, ACTION: _feature("float32", header.action_names), **cameras, **flags, **numbers}


_PLACE = ("chunk_index", "file_index")


def _feature(dtype: str, names: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [len(names) or 1], "names": list(names) or None}


def _video(height: int, width: int, fps: int) -> dict[str, Any]:
    facts = {"height": height, "width": width, "codec": "h264", "pix_fmt": PIXELS, "is_depth_map": False, "fps": fps}
    return {
        "dtype": "video",
        "shape": [height, width, 3],
        "names": ["height", "width", "channels"],
        "info": {**{f"video.{name}": value for name, value in facts.items()}, "video.channels": 3, "has_audio": False},
    }


def _sampling(frames: Frames, sample: list[Frame]) -> Iterator[Frame]:
    """Every frame; those that statistics are made of go into `sample` as they pass."""
    wanted = statistics.sampled(len(frames))
    for step in range(len(frames)):
        frame = frames[step]
        if step in wanted:
            sample.append(statistics.thinned(frame))
        yield frame


def _array(values: NDArray[Any]) -> pa.Array:
    """A column of numbers [T] or [T, 1], or of lists [T, dims]."""
    flat = pa.array(values.reshape(-1))
    dims = values.shape[1] if values.ndim == 2 else 1
    return flat if dims == 1 else pa.FixedSizeListArray.from_arrays(flat, dims)


def _flat(found: Mapping[str, statistics.Statistics]) -> dict[str, Any]:
    return {f"stats/{name}/{key}": value.tolist() for name, one in found.items() for key, value in one.items()}


def _task_table(tasks: Mapping[str, int]) -> pa.Table:
    """The instructions are the index of a pandas table, which its metadata says."""
    column = {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    index = {"index_columns": ["task"], "column_indexes": [], "columns": [column], "pandas_version": "2.0.0"}
    table = pa.table({"task_index": pa.array(tasks.values(), pa.int64()), "task": pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(index)})


def _write_table(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False), "utf-8")
