"""Recorded robot footage, as far as a replay needs to know it, and whether a policy can look at it.

`Footage` and `Recording` are what `calibration.datasets` readers give; nothing here imports them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundle_spec import PolicySpec
from edge_runtime.errors import EdgeError
from edge_runtime.suggest import did_you_mean


class Frames(Protocol):
    """T frames, RGB uint8 [height, width, 3], decoded on access."""

    def __len__(self) -> int: ...

    def __getitem__(self, step: int, /) -> NDArray[np.uint8]: ...


class Recording(Protocol):
    """One episode of T steps. `where` names file and record."""

    @property
    def index(self) -> int: ...
    @property
    def where(self) -> str: ...
    @property
    def instruction(self) -> str: ...
    @property
    def state(self) -> NDArray[np.float32]: ...
    @property
    def action(self) -> NDArray[np.float32]: ...
    @property
    def frames(self) -> Mapping[str, Frames]: ...


class Footage(Protocol):
    """A dataset: its cameras' names, its steps a second where it records them, and its episodes in order."""

    @property
    def name(self) -> str: ...
    @property
    def cameras(self) -> tuple[str, ...]: ...
    @property
    def rate_hz(self) -> float | None: ...
    def episodes(self) -> Iterable[Recording]: ...


@dataclass(frozen=True)
class Take:
    """One episode for the policy: a frame source a camera of the policy, states [T, n] float64."""

    index: int
    instruction: str
    frames: Mapping[str, Frames]
    state: NDArray[np.float64]
    action: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.state)


def camera_fields(spec: PolicySpec, footage: Footage, given: Mapping[str, str]) -> dict[str, str]:
    """Policy camera → field of the footage: as `given`, otherwise the field of the same name. `EdgeError` for none."""
    names = tuple(c.name for c in spec.cameras)
    for name in given:
        if name not in names:
            raise EdgeError(f'--map {name}={given[name]}: the bundle has no camera "{name}"{did_you_mean(name, names)}')
    fields = {name: given.get(name, name) for name in names}
    for name, field in fields.items():
        if field not in footage.cameras:
            known = ", ".join(footage.cameras) or "none"
            raise EdgeError(
                f'{footage.name}: no camera "{field}" for the bundle\'s "{name}": '
                f"give --map {name}=FIELD; known: {known}"
            )
    return fields


def take_episodes(
    footage: Footage, spec: PolicySpec, fields: Mapping[str, str], wanted: Collection[int] | None
) -> list[Take]:
    """The episodes with these indices (all for None), every image decoded once and every size compared with the policy.

    So that nothing is found wrong after the arm has begun to move. Raises `EdgeError`.
    """
    takes = []
    for recording in footage.episodes():
        if wanted is None or recording.index in wanted:
            takes.append(_take(recording, spec, fields))
        if wanted is not None and recording.index >= max(wanted, default=-1):
            break
    missing = sorted(set(wanted or ()) - {take.index for take in takes})
    if missing or not takes:
        which = f"no episode {', '.join(map(str, missing))}" if missing else "no episodes"
        raise EdgeError(f"{footage.name}: {which}; the first is 0")
    return takes


def _take(recording: Recording, spec: PolicySpec, fields: Mapping[str, str]) -> Take:
    for what, have, want in (
        ("states", recording.state.shape[1], spec.state.dims),
        ("actions", recording.action.shape[1], spec.action.dims),
    ):
        if have != want:
            raise EdgeError(f"{recording.where}: {what} of {have} dimensions, the bundle's have {want}")
    for camera in spec.cameras:
        frames = recording.frames[fields[camera.name]]
        for step in range(len(frames)):
            height, width, _ = frames[step].shape
            if (height, width) != (camera.height, camera.width):
                raise EdgeError(
                    f"{recording.where}: {fields[camera.name]} is {width}x{height}, {camera.name} of the bundle "
                    f"{camera.width}x{camera.height}: export it with --camera {camera.name}={height}x{width}"
                )
    return Take(
        index=recording.index,
        instruction=recording.instruction,
        frames={name: recording.frames[field] for name, field in fields.items()},
        state=recording.state.astype(np.float64),
        action=recording.action.astype(np.float64),
    )
