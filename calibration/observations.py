"""From a recorded dataset to what a policy is shown: samples for calibration, and others held out from it.

Frames that have not the policy's size are resized to it (pixel areas averaged): calibration needs what cameras see, not
exact pixels. A replay on the robot's loop is strict about sizes instead (`edge_runtime.footage`).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.datasets.base import Damage, Dataset, DatasetError, Episode, Floats, Frame, finite
from calibration.describe import OnCorrupt, Told, damage_handler
from edge_runtime.bundle_spec import CameraSpec, PolicySpec
from edge_runtime.errors import EdgeError

HELD_OUT = 0.25
"""Samples held out for each one that is asked for, and the share of the episodes that they come from."""
STATE = "state"
_SLICE = re.compile(r"(.+)\[(\d*):(\d*)\]")


class MappingError(EdgeError):
    """What a policy takes is not what a dataset has; says which field to map."""


@dataclass(frozen=True)
class Sample:
    """One step as the policy is shown it. `where` names its record; `action` [m] is what the dataset has for it."""

    episode: int
    step: int
    where: str
    instruction: str
    frames: dict[str, NDArray[np.uint8]]
    """By the policy's cameras, of the policy's sizes; those that the mapping leaves out are not there."""
    state: NDArray[np.float32]
    action: NDArray[np.float32]


@dataclass(frozen=True)
class Samples:
    """Samples of two sets that share no episode, and what was read to find them."""

    calibration: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    sha256: str
    """Of frames, states and instructions of both sets."""
    corrupt: tuple[str, ...]
    episodes: int
    """Whole ones."""
    action_low: NDArray[np.float32]
    """[m] over every step of these episodes, as is `action_high`."""
    action_high: NDArray[np.float32]


@dataclass(frozen=True)
class Fields:
    """Which field of the dataset is which of the policy's."""

    cameras: Mapping[str, str]
    """Policy camera → camera of the dataset, without those left out."""
    state: str
    """A vector of the dataset, "" for an episode's own state."""
    dims: slice


class _Pick(NamedTuple):
    """Steps of one episode, for one of the two sets."""

    steps: list[int]
    held_out: bool


def samples(
    dataset: Dataset,
    spec: PolicySpec,
    mapping: Mapping[str, str],
    *,
    count: int,
    seed: int,
    on_corrupt: OnCorrupt = "skip",
    told: Told = lambda _done, _of: None,
) -> Samples:
    """`count` samples, or every step where there are fewer, and a quarter as many that are held out.

    They are spread evenly over episodes, and over the steps of each, by `seed`. `told` hears of each episode twice: it
    is read once for its length and ranges, and again for its samples; images are decoded where they are picked.
    Raises `MappingError`; `DatasetError` for damage where `on_corrupt` is "fail", and for a dataset that cannot show
    what the policy will see: one episode, pictures or states that never change.
    """
    reading = _Reading(dataset, spec, fields(dataset, spec, mapping))
    corrupt: list[str] = []
    damage = damage_handler(on_corrupt, corrupt)
    lengths = reading.survey(damage, told)
    picks = _picks(lengths, count, np.random.default_rng(seed)) if len(lengths) > 1 else {}
    if not picks:
        raise DatasetError(
            f"{dataset.name}: {len(lengths)} whole episodes; a calibration set needs two, one of them to be held out"
            f"{_why(corrupt)}"
        )
    sets: tuple[list[Sample], list[Sample]] = ([], [])
    for sample, held_out in reading.samples(picks, lambda error: _unless_known(error, damage, corrupt), told):
        sets[held_out].append(sample)
    _refuse_useless(dataset.name, spec, sets, corrupt)
    return Samples(
        calibration=tuple(sets[0]),
        held_out=tuple(sets[1]),
        sha256=_sha256(sets),
        corrupt=tuple(corrupt),
        episodes=len(lengths),
        action_low=reading.action_low,
        action_high=reading.action_high,
    )


def fields(dataset: Dataset, spec: PolicySpec, mapping: Mapping[str, str]) -> Fields:
    """What `mapping` (policy field → dataset field) says, equal names filled in. Raises `MappingError`.

    A camera's field is its name in the dataset, or the part of it behind the last dot; empty, the camera is left out,
    where the policy can do without it. The field of "state" may pick dimensions: `observation.state[0:6]`.
    """
    known = [camera.name for camera in spec.cameras] + [STATE] * (spec.state.dims > 0)
    for name, field in mapping.items():
        if name not in known:
            raise MappingError(f'map {name}={field}: the policy has no "{name}"; known: {", ".join(known)}')
    found = {camera.name: _camera_field(dataset, camera, mapping.get(camera.name)) for camera in spec.cameras}
    cameras = {name: field for name, field in found.items() if field}
    if not cameras:
        raise MappingError(f"{dataset.name}: every camera of the policy is left out")
    return Fields(cameras, *_state_field(dataset, mapping.get(STATE, STATE)))


def _camera_field(dataset: Dataset, camera: CameraSpec, given: str | None) -> str:
    """The dataset's name of a camera; "" to leave it out."""
    if given == "":
        if camera.missing == "refuse":
            raise MappingError(f"map {camera.name}=: the policy cannot do without this camera")
        return ""
    wanted = given or camera.name
    short = [name for name in dataset.cameras if name.rpartition(".")[2] == wanted]
    if wanted in dataset.cameras or len(short) == 1:
        return wanted if wanted in dataset.cameras else short[0]
    what = f"{len(short)} cameras are called" if short else "no camera"
    leave = "" if camera.missing == "refuse" else f" (or {camera.name}= to leave it out)"
    raise MappingError(
        f'{dataset.name}: {what} "{wanted}", for the policy\'s "{camera.name}": map {camera.name}=FIELD{leave}; '
        f"known: {', '.join(dataset.cameras) or 'none'}"
    )


def _state_field(dataset: Dataset, given: str) -> tuple[str, slice]:
    """The vector of the dataset ("": an episode's own state) and which dimensions of it."""
    found = _SLICE.fullmatch(given)
    name, dims = given, slice(None)
    if found is not None:
        name, dims = found[1], slice(int(found[2] or 0), int(found[3]) if found[3] else None)
    if name == STATE or name in dataset.vectors:
        return "" if name == STATE else name, dims
    known = ", ".join(dataset.vectors) or STATE
    raise MappingError(f'{dataset.name}: no vector "{name}" for the policy\'s state: map state=FIELD; known: {known}')


class _Reading:
    """One dataset read for one policy."""

    def __init__(self, dataset: Dataset, spec: PolicySpec, used: Fields) -> None:
        self._dataset = dataset
        self._spec = spec
        self._fields = used
        self.action_low = np.zeros(0, np.float32)
        self.action_high = np.zeros(0, np.float32)

    def survey(self, damage: Damage, told: Told) -> dict[int, int]:
        """Steps of every whole episode by its index; notes the range of actions."""
        lengths: dict[int, int] = {}
        of = len(self._dataset)
        for episode in self._dataset.episodes(damage):
            try:
                finite(self._state(episode), "the state", episode.where)
                finite(episode.action, "the action", episode.where)
            except DatasetError as error:
                damage(error)
                continue
            low, high = episode.action.min(axis=0), episode.action.max(axis=0)
            self.action_low = np.minimum(self.action_low, low) if lengths else low
            self.action_high = np.maximum(self.action_high, high) if lengths else high
            lengths[episode.index] = len(episode)
            told(min(episode.index + 1, of), 2 * of)
        return lengths

    def samples(self, picks: Mapping[int, _Pick], damage: Damage, told: Told) -> Iterator[tuple[Sample, bool]]:
        """(sample, held out) of every pick whose images decode."""
        of, last = len(self._dataset), max(picks)
        for episode in self._dataset.episodes(damage):
            steps, held_out = picks.get(episode.index, _NOTHING)
            for step in steps:
                try:
                    yield self._sample(episode, step), held_out
                except DatasetError as error:
                    damage(error)
            if episode.index >= last:
                break
            told(of + min(episode.index + 1, of), 2 * of)
        told(2 * of, 2 * of)

    def _sample(self, episode: Episode, step: int) -> Sample:
        frames = {}
        for camera in self._spec.cameras:
            if camera.name in self._fields.cameras:
                frame = episode.frames[self._fields.cameras[camera.name]][step]
                frames[camera.name] = _resized(frame, camera)
        return Sample(
            episode=episode.index,
            step=step,
            where=f"{episode.where}, step {step}",
            instruction=episode.instruction,
            frames=frames,
            state=self._state(episode)[step].copy(),
            action=episode.action[step].copy(),
        )

    def _state(self, episode: Episode) -> Floats:
        """[T, n] of the policy's dimensions."""
        dims = self._spec.state.dims
        if not dims:
            return np.zeros((len(episode), 0), np.float32)
        name = self._fields.state
        values = (episode.vectors[name] if name else episode.state)[:, self._fields.dims]
        if values.shape[1] != dims:
            raise MappingError(
                f'{episode.where}: "{name or STATE}" gives {values.shape[1]} dimensions, the policy\'s state has '
                f"{dims}: map state=FIELD[FIRST:END]"
            )
        return values


_NOTHING = _Pick([], held_out=False)


def _picks(lengths: Mapping[int, int], count: int, rng: np.random.Generator) -> dict[int, _Pick]:
    """Which steps of which episodes (at least two), by index."""
    order = rng.permutation(list(lengths))
    apart = min(max(1, round(HELD_OUT * len(order))), len(order) - 1)
    picks = {}
    for held_out, indices, wanted in (
        (True, order[:apart], math.ceil(HELD_OUT * count)),
        (False, order[apart:], count),
    ):
        steps = np.array([lengths[index] for index in indices])
        for index, share in zip(indices, _shares(steps, wanted, rng), strict=True):
            picks[int(index)] = _Pick(_spread(lengths[index], int(share), rng), held_out)
    return picks


def _shares(steps: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How many samples each episode of so many `steps` gives: one more in turns, as long as it has steps."""
    shares = np.zeros_like(steps)
    while count > 0 and (shares < steps).any():
        turn = rng.permutation(np.flatnonzero(shares < steps))[:count]
        shares[turn] += 1
        count -= len(turn)
    return shares


def _spread(steps: int, share: int, rng: np.random.Generator) -> list[int]:
    """`share` different steps at equal distances."""
    found: list[int] = np.floor((np.arange(share) + rng.random()) * (steps / max(share, 1))).astype(int).tolist()
    return found


def _resized(frame: Frame, camera: CameraSpec) -> Frame:
    if frame.shape[:2] == (camera.height, camera.width):
        return frame
    return np.asarray(cv2.resize(frame, (camera.width, camera.height), interpolation=cv2.INTER_AREA), np.uint8)


def _unless_known(error: DatasetError, damage: Damage, corrupt: list[str]) -> None:
    """The second reading meets what the first has noted."""
    if str(error) not in corrupt:
        damage(error)


def _refuse_useless(name: str, spec: PolicySpec, sets: tuple[list[Sample], list[Sample]], corrupt: list[str]) -> None:
    """`DatasetError` where the samples cannot show what the policy will see."""
    if not all(sets):
        raise DatasetError(f"{name}: no usable sample{_why(corrupt)}")
    picked = [*sets[0], *sets[1]]
    for camera in picked[0].frames:
        frames = [sample.frames[camera] for sample in picked]
        if all(frame.min() == frame.max() for frame in frames):
            raise DatasetError(f'{name}: "{camera}" is blank in all {len(frames)} samples; map another camera to it')
        if all(np.array_equal(frame, frames[0]) for frame in frames):
            raise DatasetError(f'{name}: "{camera}" shows one and the same picture in all {len(frames)} samples')
    if spec.state.dims and all(np.array_equal(sample.state, picked[0].state) for sample in picked):
        raise DatasetError(f"{name}: the state is one and the same in all {len(picked)} samples")


def _why(corrupt: list[str]) -> str:
    return f"; {len(corrupt)} damaged, the first: {corrupt[0]}" if corrupt else ""


def _sha256(sets: tuple[list[Sample], list[Sample]]) -> str:
    """Of everything that a policy is shown, each part with its size before it."""
    found = hashlib.sha256()

    def add(data: bytes) -> None:
        found.update(len(data).to_bytes(8, "little") + data)

    for one in sets:
        found.update(len(one).to_bytes(8, "little"))
        for sample in one:
            add(sample.instruction.encode())
            add(sample.state.tobytes())
            for camera, frame in sorted(sample.frames.items()):
                add(camera.encode())
                add(np.array(frame.shape, "<i8").tobytes())
                add(frame.tobytes())
    return found.hexdigest()
