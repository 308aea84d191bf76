"""The recording format: what a robot's policy saw and what it answered, in a folder that only ever grows.

`recording.json` describes the robot (`Description`); each task is one file `episode-000000.rec` of records, one a step:
uint32 length, uint32 CRC-32 of the payload (zlib), payload; little-endian. A payload is a msgpack map (`Step`). Nothing
is rewritten, so that whatever ends the robot leaves every record readable that reached the disk whole.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from textwrap import shorten
from typing import Annotated, BinaryIO, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from edge_runtime.errors import EdgeError

FORMAT = 2
READABLE = (1, FORMAT)
"""In format 1 nothing says whose actions are and of which kind: the policy's, absolute joint positions."""
DESCRIPTION = "recording.json"
FLOAT = np.dtype("<f4")
"""Of states and actions."""

_HEADER = struct.Struct("<II")
_EPISODE = re.compile(r"episode-(\d{6,})\.rec")

Floats = NDArray[np.float32]
Pixels = Annotated[int, Meta(ge=1, le=1 << 14)]
Nanoseconds = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class RecordingError(EdgeError):
    """A recording is absent, damaged or another robot's: one line with the file and the place in it."""


class Camera(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One camera; every step has a JPEG of this size from it."""

    name: Annotated[str, Meta(min_length=1)]
    height: Pixels
    width: Pixels


class Vector(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A state or an action: names and units per dimension, as the policy has them; a unit is "" where it says none."""

    names: tuple[str, ...]
    units: tuple[str, ...]


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """recording.json: what is the same in every step. `dt_s` is the time between two actions of a chunk.

    `control_mode` is the policy's; `pose`: its actions are of the end effector, not of joints.
    """

    format: int = FORMAT
    robot: str
    cameras: tuple[Camera, ...]
    state: Vector
    action: Vector
    horizon: Annotated[int, Meta(ge=1, le=1_000_000)]
    dt_s: Annotated[float, Meta(gt=0, le=1e6)]
    control_mode: Literal["absolute", "delta"] = "absolute"
    pose: bool = False


class _Version(msgspec.Struct):
    """What every recording.json says, whatever else a later one may."""

    format: int


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One inference: what the policy saw and what it answered, times in CLOCK_MONOTONIC ns.

    `t_ns`: when the answer was there; `capture_ns`: of the oldest frame behind it. `policy`: seal of its bundle, "" for
    a policy without one. `state` float32 [dims] and `actions` float32 [horizon, dims] are in the policy's units,
    `frames` are JPEG by camera. `person`: a person drove, and every row of `actions` is where to.
    """

    t_ns: Nanoseconds
    capture_ns: Nanoseconds
    policy: str
    instruction: str
    state: bytes
    actions: bytes
    frames: dict[str, bytes]
    person: bool = False


class Placed(NamedTuple):
    """A step and the byte of its file at which its record begins."""

    offset: int
    step: Step


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Step)


def encode(step: Step) -> bytes:
    """The record of a step."""
    payload = _encoder.encode(step)
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def read_steps(path: Path, description: Description) -> Iterator[Placed]:
    """Every whole step of an episode's file, in order, each as `description` says.

    Raises `RecordingError` with file, record and byte for the first that is not; what stands behind it is lost, because
    nothing tells where the next record begins.
    """
    with _opened(path) as file:
        size, offset, index = os.fstat(file.fileno()).st_size, 0, 0
        while offset < size:
            where = place(path, index, offset)
            payload = _payload(file, size - offset, where)
            yield Placed(offset, _step(payload, description, where))
            offset, index = offset + _HEADER.size + len(payload), index + 1


def read_step(path: Path, index: int, offset: int, description: Description) -> Step:
    """The step at byte `offset` of a file, which `read_steps` gave as number `index`. Raises `RecordingError`."""
    with _opened(path) as file:
        file.seek(offset)
        where = place(path, index, offset)
        return _step(_payload(file, os.fstat(file.fileno()).st_size - offset, where), description, where)


def place(path: Path, index: int, offset: int) -> str:
    """How messages name a record."""
    return f"{path}, record {index} at byte {offset}"


def episode_path(folder: Path, number: int) -> Path:
    """The file of episode `number`."""
    return folder / f"episode-{number:06}.rec"


def episode_numbers(folder: Path) -> list[int]:
    """Numbers of the episodes in a folder, sorted. Raises `RecordingError`."""
    try:
        found = (_EPISODE.fullmatch(file.name) for file in folder.iterdir())
        return sorted(int(match[1]) for match in found if match)
    except OSError as error:
        raise RecordingError(f"{folder}: cannot be read: {error.strerror}") from error


def read_description(folder: Path) -> Description:
    """recording.json of a folder. Raises `RecordingError`, one line that names the field."""
    path = folder / DESCRIPTION
    try:
        text = path.read_bytes()
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror}: this is no recording") from error
    try:
        version = msgspec.json.decode(text, type=_Version).format
        if version not in READABLE:
            raise RecordingError(f"{path}: format is {version}, this version reads {', '.join(map(str, READABLE))}")
        found = msgspec.json.decode(text, type=Description)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordingError(f"{path}: {_one_line(error)}") from error
    problem = next(_impossible(found), "")
    if problem:
        raise RecordingError(f"{path}: {problem}")
    return found


def _impossible(description: Description) -> Iterator[str]:
    names = [camera.name for camera in description.cameras]
    if len(set(names)) != len(names):
        yield "cameras: a name is used twice"
    for field, vector in (("state", description.state), ("action", description.action)):
        if len(vector.units) != len(vector.names):
            yield f"{field}: {len(vector.units)} units for {len(vector.names)} names"
    if not description.action.names:
        yield "action: has no dimensions"


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror}") from error


def _payload(file: BinaryIO, left: int, where: str) -> bytes:
    """The payload of the record at the file's position, with `left` bytes from there to the end of the file.

    A disk that lost power may end in zeros, which would pass as empty records with the checksum of nothing.
    """
    try:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            raise RecordingError(f"{where}: the file ends inside the record's header")
        length, checksum = _HEADER.unpack(header)
        if not length:
            raise RecordingError(f"{where}: a record of no length")
        if _HEADER.size + length > left:
            raise RecordingError(f"{where}: the file ends inside the record ({length} bytes, {left} left)")
        payload = file.read(length)
    except OSError as error:
        raise RecordingError(f"{where}: cannot be read: {error.strerror}") from error
    if len(payload) < length:
        raise RecordingError(f"{where}: the file shrank while it was read")
    if zlib.crc32(payload) != checksum:
        raise RecordingError(f"{where}: wrong checksum")
    return payload


def _step(payload: bytes, description: Description, where: str) -> Step:
    try:
        step = _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordingError(f"{where}: {_one_line(error)}") from error
    dims = len(description.action.names)
    for what, data, count in (
        ("state", step.state, len(description.state.names)),
        ("actions", step.actions, description.horizon * dims),
    ):
        if len(data) != count * FLOAT.itemsize:
            raise RecordingError(f"{where}: {what} of {len(data)} bytes, {count} float32 were promised")
        if not np.isfinite(np.frombuffer(data, FLOAT)).all():
            raise RecordingError(f"{where}: {what} not finite")
    cameras = {camera.name for camera in description.cameras}
    if set(step.frames) != cameras:
        raise RecordingError(f"{where}: frames of {_listed(step.frames)}, {_listed(cameras)} were promised")
    return step


def _listed(names: set[str] | dict[str, bytes]) -> str:
    return ", ".join(map(repr, sorted(names))) or "no camera"


def _one_line(error: Exception) -> str:
    """A decoder's message, which may quote the file."""
    return shorten(str(error), 200, placeholder=" …")
