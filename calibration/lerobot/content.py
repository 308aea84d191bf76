"""The episodes of a LeRobotDataset: rows from parquet, frames from the rows or from videos, damage with its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from calibration.datasets.base import Damage, DatasetError, Episode, Frames, finite
from calibration.images import EncodedFrames
from calibration.lerobot import tables
from calibration.lerobot.episodes import Listed, read_episodes, read_tasks
from calibration.lerobot.info import ACTION, STATE, Info
from calibration.lerobot.tables import Table, TableError

_TIME = "timestamp"
_LONGEST_S = 1e6


class Content:
    """What the description lists. Raises `DatasetError`, and `ModuleNotFoundError` where av is needed and not there."""

    def __init__(self, folder: Path, info: Info) -> None:
        self._info = info
        on_video = [name for name in info.image_shapes if info.features[name].dtype == "video"]
        in_rows = [name for name in info.image_shapes if name not in on_video]
        self._columns = ["episode_index", "task_index", *([_TIME] if on_video else []), *info.dims, *in_rows]
        self._listed = read_episodes(folder, info, on_video)
        self._tasks = read_tasks(folder, info)
        if on_video:
            from calibration.lerobot.video import Videos

            self._videos = Videos(info.fps)

    def __len__(self) -> int:
        return len(self._listed)

    def episodes(self, damage: Damage) -> Iterator[Episode]:
        opened: tuple[Path, Table | TableError] | None = None
        for listed in self._listed:
            where = f"{listed.data}, episode {listed.index}"
            try:
                if opened is None or opened[0] != listed.data:
                    opened = (listed.data, self._open(listed.data))
                if isinstance(opened[1], TableError):
                    raise opened[1]
                episode = self._episode(listed, opened[1].rows(listed.first, listed.length), where)
            except TableError as error:
                damage(DatasetError(f"{where}: {error}"))
            except DatasetError as error:
                damage(error)
            else:
                yield episode

    def _open(self, path: Path) -> Table | TableError:
        try:
            return Table(path, self._columns)
        except TableError as error:
            return error

    def _episode(self, listed: Listed, rows: pa.Table, where: str) -> Episode:
        if (tables.integers(rows, "episode_index") != listed.index).any():
            raise DatasetError(f"{where}: its rows are of another episode")
        task = int(tables.integers(rows, "task_index")[0])
        if task not in self._tasks:
            raise DatasetError(f"{where}: task {task} is not among the {len(self._tasks)} of meta/tasks")
        vectors = {name: tables.vectors(rows, name, dims) for name, dims in self._info.dims.items()}
        return Episode(
            index=listed.index,
            where=where,
            instruction=self._tasks[task],
            state=finite(vectors[STATE], repr(STATE), where),
            action=finite(vectors[ACTION], repr(ACTION), where),
            frames={camera: self._frames(camera, listed, rows, where) for camera in self._info.image_shapes},
            vectors={name: vectors[name] for name in self._info.vectors},
        )

    def _frames(self, camera: str, listed: Listed, rows: pa.Table, where: str) -> Frames:
        if camera not in listed.clips:
            return EncodedFrames(tables.images(rows, camera), self._info.image_shapes[camera], f"{where}, {camera!r}")
        clip, times_s = listed.clips[camera], tables.vectors(rows, _TIME, 1)[:, 0].tolist()
        last_s = clip.to_s - clip.from_s + 0.5 / self._info.fps
        for step, at_s in enumerate(times_s):
            if not 0 <= at_s <= min(last_s, _LONGEST_S):
                raise DatasetError(f"{where}, step {step}: at {at_s} s, and its {camera!r} ends at {last_s:.3f} s")
        in_video = f"{clip.path}, episode {listed.index}, {camera!r}"
        return self._videos.frames(clip, self._info.image_shapes[camera], times_s, in_video)
