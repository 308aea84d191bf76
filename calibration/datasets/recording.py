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


class Row(NamedTuple):
    """A step without its frames: where its record is, and the rest of it; `Step` says what is what."""

    record: int
    offset: int
    t_ns: int
    capture_ns: int
    instruction: str
    state: Floats
    """[dims]"""
    actions: Floats
    """[horizon, dims]"""
    person: bool


class Take(NamedTuple):
    """What one instruction of a task was answered: an episode."""

    number: int
    """Of the episode."""
    path: Path
    rows: list[Row]


class Reader(Dataset):
    """The recording in a folder. `rate_hz` is by the frames' own times: a robot infers as often as it can.

    An episode's action is the first of each chunk: what was due when the frame was taken.
    """

    def __init__(self, path: str | Path) -> None:
        folder = Path(path)
        try:
            self.description = read_description(folder)
            self._files = [episode_path(folder, number) for number in episode_numbers(folder)]
        except RecordingError as error:
            raise DatasetError(str(error)) from error
        self.name = self.description.robot
        self.cameras = tuple(camera.name for camera in self.description.cameras)
        self.state_names = self.description.state.names
        self.action_names = self.description.action.names
        self.rate_hz = self._rate_hz()

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return (path / DESCRIPTION).is_file()

    def __len__(self) -> int:
        """Tasks."""
        return len(self._files)

    def episodes(self, damage: Damage = refuse) -> Iterator[Episode]:
        """As the contract says, but that the whole steps before damage are an episode too."""
        return map(self._episode, self.takes(damage))

    def takes(self, damage: Damage = refuse) -> Iterator[Take]:
        """The same episodes as their steps."""
        index = 0
        for path in self._files:
            rows: list[Row] = []
            try:
                rows.extend(self._rows(path))
            except DatasetError as error:
                damage(error)
            for _, same in groupby(rows, key=lambda row: row.instruction):
                yield Take(index, path, list(same))
                index += 1
            index += not rows

    def frames(self, path: Path, rows: Sequence[Row]) -> dict[str, Frames]:
        """Of each camera, those that `rows` of a file were taken with."""
        places = [(row.record, row.offset) for row in rows]
        return {c.name: _Stored(path, places, c, self.description) for c in self.description.cameras}

    def _rows(self, path: Path) -> Iterator[Row]:
        try:
            for record, (offset, step) in enumerate(read_steps(path, self.description)):
                yield self._row(record, offset, step)
        except RecordingError as error:
            raise DatasetError(str(error)) from error

    def _row(self, record: int, offset: int, step: Step) -> Row:
        state = np.frombuffer(step.state, FLOAT).astype(np.float32)
        actions = np.frombuffer(step.actions, FLOAT).astype(np.float32).reshape(-1, len(self.action_names))
        return Row(record, offset, step.t_ns, step.capture_ns, step.instruction, state, actions, step.person)

    def _episode(self, take: Take) -> Episode:
        return Episode(
            index=take.number,
            where=place(take.path, take.rows[0].record, take.rows[0].offset),
            instruction=take.rows[0].instruction,
            state=np.stack([row.state for row in take.rows]),
            action=np.stack([row.actions[0] for row in take.rows]),
            frames=self.frames(take.path, take.rows),
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
