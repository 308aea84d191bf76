"""From a recorded dataset to what a policy is shown: samples for calibration, and others held out from it.

Frames that have not the policy's size are resized to it (pixel areas averaged): calibration needs what cameras see, not
exact pixels. A replay on the robot's loop is strict about sizes instead (`edge_runtime.footage`).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
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
FEWEST_HELD_OUT = 8
"""However few are asked for: a verdict over one or two would be chance."""
STATE = "state"
Takes = Callable[[str], str]
"""Why a policy cannot take an instruction, "" where it can."""
_SLICE = re.compile(r"(.+)\[(\d*):(\d*)\]")


class MappingError(EdgeError):
    """What a policy takes is not what a dataset has; says which field to map."""


@dataclass(frozen=True)
class Sample:
    """One step as the policy is shown it. `where` names its record and step."""

    where: str
    instruction: str
    frames: dict[str, NDArray[np.uint8]]
    """By the policy's cameras, of the policy's sizes; those that the mapping leaves out are not there."""
    state: NDArray[np.float32]


@dataclass(frozen=True)
class Samples:
    """Samples of two sets that share no episode, and what was read to find them."""

    calibration: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    sha256: str
    """Of frames, states and instructions of both sets."""
    corrupt: tuple[str, ...]
    """What was left out, damaged or of no use to the policy: one line each."""
    episodes: int
    """Usable ones."""
    remarks: tuple[str, ...]
    """What a person should know although nothing is wrong: one line each."""


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
    held_out: int | None = None,
    on_corrupt: OnCorrupt = "skip",
    takes: Takes = lambda _instruction: "",
    told: Told = lambda _done, _of: None,
) -> Samples:
    """`count` samples, or every step where there are fewer, and `held_out`: by default a quarter as many, at least 8.

    They are spread evenly over episodes, and over the steps of each, by `seed`; `count` does not change which are held
    out. An episode with an instruction that the policy does not take is as good as damaged. `told` hears of each
    episode twice: it is read once for its length, and again for its samples; images are decoded where they are picked.
    Raises `MappingError`; `DatasetError` for damage where `on_corrupt` is "fail", and for a dataset that cannot show
    what the policy will see: one episode, pictures or states that never change.
    """
    reading = _Reading(dataset, spec, fields(dataset, spec, mapping))
    corrupt: list[str] = []
    damage = damage_handler(on_corrupt, corrupt)
    hint = "; --on-corrupt skip leaves such episodes out" if on_corrupt == "fail" else ""
    lengths = reading.survey(lambda words: (why := takes(words)) and why + hint, damage, told)
    if held_out is None:
        held_out = max(FEWEST_HELD_OUT, math.ceil(HELD_OUT * count))
    picks = _picks(lengths, count, held_out, np.random.default_rng(seed)) if len(lengths) > 1 else {}
    if not picks:
        raise DatasetError(
            f"{dataset.name}: {len(lengths)} usable episodes; a calibration set needs two, one of them to be held out"
            f"{_why(corrupt)}"
        )
    sets: tuple[list[Sample], list[Sample]] = ([], [])
    for sample, apart in reading.samples(picks, lambda error: _unless_known(error, damage, corrupt), told):
        sets[apart].append(sample)
    _refuse_useless(dataset.name, spec, sets, corrupt)
    return Samples(
        calibration=tuple(sets[0]),
        held_out=tuple(sets[1]),
        sha256=_sha256(sets),
        corrupt=tuple(corrupt),
        episodes=len(lengths),
        remarks=reading.remarks(),
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
        self._action_dims = spec.action.dims
        self._sizes: dict[str, dict[str, None]] = {}

    def survey(self, takes: Takes, damage: Damage, told: Told) -> dict[int, int]:
        """Steps of every usable episode by its index."""
        lengths: dict[int, int] = {}
        of = len(self._dataset)
        for episode in self._dataset.episodes(damage):
            try:
                finite(self._state(episode), "the state", episode.where)
                finite(episode.action, "the action", episode.where)
                if why := takes(episode.instruction):
                    raise DatasetError(f"{episode.where}: {why}")
            except DatasetError as error:
                damage(error)
                continue
            self._action_dims = episode.action.shape[1]
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

    def remarks(self) -> tuple[str, ...]:
        """What is not as the policy has it, though calibration can do with it."""
        found = [
            f"camera {camera.name}: frames of {' and '.join(self._sizes[camera.name])} are resized to "
            f"{camera.height}×{camera.width} for calibration"
            for camera in self._spec.cameras
            if camera.name in self._sizes
        ]
        there, dims = self._action_dims, self._spec.action.dims
        if there != dims:
            found.append(f"actions have {there} dimensions and the policy's {dims}; only observations are used")
        return tuple(found)

    def _sample(self, episode: Episode, step: int) -> Sample:
        frames = {}
        for camera in self._spec.cameras:
            if camera.name in self._fields.cameras:
                frame = episode.frames[self._fields.cameras[camera.name]][step]
                frames[camera.name] = _resized(frame, camera)
                if frames[camera.name] is not frame:
                    height, width = frame.shape[:2]
                    self._sizes.setdefault(camera.name, {})[f"{height}×{width}"] = None
        return Sample(
            where=f"{episode.where}, step {step}",
            instruction=episode.instruction,
            frames=frames,
            state=self._state(episode)[step].copy(),
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


def _picks(lengths: Mapping[int, int], count: int, held_out: int, rng: np.random.Generator) -> dict[int, _Pick]:
    """Which steps of which episodes (at least two), by index."""
    order = rng.permutation(list(lengths))
    apart = min(max(1, round(HELD_OUT * len(order))), len(order) - 1)
    picks = {}
    for away, indices, wanted in ((True, order[:apart], held_out), (False, order[apart:], count)):
        steps = np.array([lengths[index] for index in indices])
        for index, share in zip(indices, _shares(steps, wanted, rng), strict=True):
            picks[int(index)] = _Pick(_spread(lengths[index], int(share), rng), away)
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
        if all((frame == frame[0, 0]).all() for frame in frames):
            raise DatasetError(f'{name}: "{camera}" is blank in all {len(frames)} samples; map another camera to it')
        if all(np.array_equal(frame, frames[0]) for frame in frames):
            raise DatasetError(f'{name}: "{camera}" shows one and the same picture in all {len(frames)} samples')
    if spec.state.dims and all(np.array_equal(sample.state, picked[0].state) for sample in picked):
        raise DatasetError(f"{name}: the state is one and the same in all {len(picked)} samples")


def _why(corrupt: list[str]) -> str:
    return f"; {len(corrupt)} left out, the first: {corrupt[0]}" if corrupt else ""


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
