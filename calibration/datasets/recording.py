"""What a robot recorded itself (`edge run --record`): `edge_runtime.recording_spec` says how it is stored.

An episode is what the policy saw and answered for one instruction: a task whose instruction was changed while it ran is
one episode for each. Frames stay on the disk until they are taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from calibration.datasets.base import Damage, Dataset, DatasetError, Episode, Floats, Frame, Frames, refuse
from calibration.images import decode_rgb
from edge_runtime.recording_spec import (
    DESCRIPTION,
    FLOAT,
    Camera,
    Description,
    RecordingError,
    Step,
    episode_numbers,
    episode_path,
    place,
    read_description,
    read_step,
    read_steps,
)

_PACE_STEPS = 200
"""How many steps of an episode are looked at to find the rate."""


class _Row(NamedTuple):
    """A step without its frames: where its record is, and the rest of it."""

    record: int
    offset: int
    capture_ns: int
    instruction: str
    state: Floats
    action: Floats
    """The first of its chunk: what was due when the frame was taken."""


class Reader(Dataset):
    """The recording in a folder. `rate_hz` is by the frames' own times: a robot infers as often as it can."""

    def __init__(self, path: str | Path) -> None:
        folder = Path(path)
        try:
            self._description = read_description(folder)
            self._files = [episode_path(folder, number) for number in episode_numbers(folder)]
        except RecordingError as error:
            raise DatasetError(str(error)) from error
        self.name = self._description.robot
        self.cameras = tuple(camera.name for camera in self._description.cameras)
        self.state_names = self._description.state.names
        self.action_names = self._description.action.names
        self.rate_hz = self._rate_hz()

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return (path / DESCRIPTION).is_file()

    def __len__(self) -> int:
        """Tasks."""
        return len(self._files)

    def episodes(self, damage: Damage = refuse) -> Iterator[Episode]:
        """As the contract says, but that the whole steps before damage are an episode too."""
        index = 0
        for path in self._files:
            rows: list[_Row] = []
            try:
                rows.extend(self._rows(path))
            except DatasetError as error:
                damage(error)
            for _, same in groupby(rows, key=lambda row: row.instruction):
                yield self._episode(index, path, list(same))
                index += 1
            index += not rows

    def _rows(self, path: Path) -> Iterator[_Row]:
        try:
            for record, (offset, step) in enumerate(read_steps(path, self._description)):
                yield self._row(record, offset, step)
        except RecordingError as error:
            raise DatasetError(str(error)) from error

    def _row(self, record: int, offset: int, step: Step) -> _Row:
        state, actions = np.frombuffer(step.state, FLOAT), np.frombuffer(step.actions, FLOAT)
        return _Row(record, offset, step.capture_ns, step.instruction, state, actions[: len(self.action_names)].copy())

    def _episode(self, index: int, path: Path, rows: Sequence[_Row]) -> Episode:
        offsets = [(row.record, row.offset) for row in rows]
        return Episode(
            index=index,
            where=place(path, *offsets[0]),
            instruction=rows[0].instruction,
            state=np.stack([row.state for row in rows]).astype(np.float32),
            action=np.stack([row.action for row in rows]).astype(np.float32),
            frames={c.name: _Stored(path, offsets, c, self._description) for c in self._description.cameras},
        )

    def _rate_hz(self) -> float | None:
        """Of the first episode with more than one frame time; damage is for `episodes` to report."""
        for path in self._files:
            times: list[int] = []
            with suppress(DatasetError):
                times.extend(row.capture_ns for row in islice(self._rows(path), _PACE_STEPS))
            between = np.diff(times)
            if (between > 0).any():
                return float(1e9 / np.median(between[between > 0]))
        return None


class _Stored(Frames):
    """Frames of one camera over some records of a file, read when they are taken."""

    def __init__(self, path: Path, places: Sequence[tuple[int, int]], camera: Camera, description: Description) -> None:
        self._path = path
        self._places = places
        self._camera = camera
        self._description = description

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, step: int, /) -> Frame:
        record, offset = self._places[step]
        name, wanted = self._camera.name, (self._camera.height, self._camera.width, 3)
        where = f"{place(self._path, record, offset)}, {name!r}"
        try:
            frame = decode_rgb(read_step(self._path, record, offset, self._description).frames[name])
        except RecordingError as error:
            raise DatasetError(str(error)) from error
        except ValueError as error:
            raise DatasetError(f"{where}: {error}") from error
        if frame.shape != wanted:
            raise DatasetError(f"{where}: an image of {frame.shape}, {wanted} was promised")
        return frame
