"""What a robot recorded itself as a LeRobotDataset v3.0, so that it can be trained on."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from calibration.datasets.base import Damage, Dataset, DatasetError, Episode, Frame, Frames
from calibration.datasets.recording import Reader, Row
from calibration.describe import OnCorrupt, Told, counted, damage_handler
from calibration.lerobot.resample import Grid, resample, unbroken
from calibration.lerobot.writer import Header, Writer
from edge_runtime.errors import one_line
from edge_runtime.recording_spec import place

_RATES_HZ = (1, 1000)
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
"""Of a camera: it becomes that of a folder."""


def to_lerobot(
    recording: Dataset,
    to: Path,
    fps: int | None = None,
    on_corrupt: OnCorrupt = "skip",
    told: Told = lambda _done, _of: None,
) -> dict[str, Any]:
    """Write the folder `to`, which is not there before and is whole afterwards, or not there.

    `fps` None means the rate at which the robot inferred. The facts for a person and a program: `path`, `episodes`,
    `frames`, `fps`, `intervention` (frames in which a person drove), `corrupt`. Raises `DatasetError`, of damage too
    for "fail".
    """
    corrupt: list[str] = []
    if not isinstance(recording, Reader):
        raise DatasetError(f"{recording.name}: is {recording.format}: only what edge run --record wrote is converted")
    header = _header(recording, _rate(recording, fps))
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise DatasetError(f"{to}: is there already: name a new folder")
    beside = to.absolute().with_name(f".{to.absolute().name}.{os.getpid()}")
    try:
        intervened = _write(
            recording, header, writer := Writer(beside, header), damage_handler(on_corrupt, corrupt), told
        )
        beside.replace(to)
    except (OSError, av.FFmpegError) as error:
        raise DatasetError(f"{to}: cannot be written: {error.strerror or one_line(error)}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    counts = {"episodes": writer.episodes, "frames": writer.frames, "fps": header.fps, "intervention": intervened}
    return {"path": str(to), **counts, "corrupt": corrupt}


def text(facts: dict[str, Any]) -> str:
    """The facts for a person."""
    counts = f"{counted(facts['episodes'], 'episode')}, {counted(facts['frames'], 'frame')}"
    lines = [f"{facts['path']}: LeRobotDataset v3.0, {counts} at {facts['fps']} a second"]
    lines += [f"{counted(facts['intervention'], 'frame')} with a person's hand"]
    return "\n".join([*lines, *(f"left out: {damage}" for damage in facts["corrupt"])])


def _write(recording: Reader, header: Header, writer: Writer, damage: Damage, told: Told) -> int:
    """Every episode; how many frames a person drove in."""
    description, intervened = recording.description, 0
    try:
        for take in recording.takes(damage):
            for rows in unbroken(take.rows, description.horizon * description.dt_s):
                try:
                    grid = resample(rows, description, header.fps)
                except ValueError as error:
                    damage(DatasetError(f"{_where(take.path, rows)}: {error}"))
                else:
                    intervened += _add(recording, writer, take.path, rows, grid)
            told(min(take.number + 1, len(recording)), len(recording))
        if not writer.episodes:
            raise DatasetError(f"{recording.name}: not one whole step was recorded")
        writer.finish()
    finally:
        writer.close()
    return intervened


def _add(recording: Reader, writer: Writer, path: Path, rows: Sequence[Row], grid: Grid) -> int:
    seen = [rows[row] for row in grid.seen]
    person = np.array([rows[row].person for row in grid.followed])
    writer.add(
        Episode(
            index=writer.episodes,
            where=_where(path, rows),
            instruction=rows[0].instruction,
            state=np.stack([row.state for row in seen]),
            action=grid.action,
            frames=_frames(recording, path, seen),
        ),
        person,
    )
    return int(person.sum())


def _where(path: Path, rows: Sequence[Row]) -> str:
    return place(path, rows[0].record, rows[0].offset)


def _frames(recording: Reader, path: Path, rows: Sequence[Row]) -> dict[str, Frames]:
    return {camera: _Held(stored, rows) for camera, stored in recording.frames(path, rows).items()}


class _Held(Frames):
    """Frames of which several in a row may be the same one, decoded once."""

    def __init__(self, frames: Frames, rows: Sequence[Row]) -> None:
        self._frames = frames
        self._records = [row.record for row in rows]
        self._held: tuple[int, Frame] | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, step: int, /) -> Frame:
        record = self._records[step]
        if self._held is None or self._held[0] != record:
            self._held = (record, self._frames[step])
        return self._held[1]


def _rate(recording: Reader, fps: int | None) -> int:
    if fps is not None and not _RATES_HZ[0] <= fps <= _RATES_HZ[1]:
        raise DatasetError(f"--fps {fps}: {_RATES_HZ[0]} to {_RATES_HZ[1]} frames a second are possible")
    description = recording.description
    if description.control_mode == "delta":
        return _rate_of_deltas(recording.name, description.dt_s, fps)
    if fps is not None:
        return fps
    if recording.rate_hz is None:
        raise DatasetError(f"{recording.name}: too few steps to tell a rate by: name one with --fps")
    return int(np.clip(round(recording.rate_hz), *_RATES_HZ))


def _rate_of_deltas(name: str, dt_s: float, fps: int | None) -> int:
    """A delta is that of its own time, and of no other."""
    rate_hz = round(1.0 / dt_s)
    if abs(rate_hz * dt_s - 1.0) > 1e-3 or not _RATES_HZ[0] <= rate_hz <= _RATES_HZ[1] or fps not in (None, rate_hz):
        raise DatasetError(f"{name}: an action is how far in {dt_s:g} s: {1.0 / dt_s:g} frames a second are possible")
    return rate_hz


def _header(recording: Reader, fps: int) -> Header:
    description = recording.description
    for camera in description.cameras:
        if not _NAME.fullmatch(camera.name):
            raise DatasetError(
                f'{recording.name}: camera "{camera.name}": letters, digits, "_", "." and "-" are possible'
            )
        if camera.height % 2 or camera.width % 2:
            raise DatasetError(
                f'{recording.name}: camera "{camera.name}" is {camera.height}×{camera.width}: a video has even sizes'
            )
    sizes = {camera.name: (camera.height, camera.width) for camera in description.cameras}
    return Header(description.robot, fps, description.state.names, description.action.names, sizes)
