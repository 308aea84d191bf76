"""The calibration folder: what `edge calibrate` has measured on one robot, typed and checked where it enters.

    bus-<name>.json       zero, direction and range of every joint of a bus, and the motors that it was measured on
    camera-<name>.json    focal length, centre and distortion, and where the camera is fixed to the robot
    latency-<name>.json   how late that camera's stamps are, and how late the motors follow

JSON, one object. Unknown fields, figures out of range and other formats are refused.
"""

from __future__ import annotations

from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from edge_runtime.errors import ConfigError
from edge_runtime.files import write_whole

FORMAT: Literal[1] = 1
"""Version of these files; another one is refused."""
MOST_BYTES = 1 << 20
"""Longest file that is read."""

Angle = Annotated[float, Meta(ge=-100.0, le=100.0)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Error = Annotated[float, Meta(ge=0.0, le=1e6)]
Line = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]
Pixels = Annotated[float, Meta(gt=0.0, le=1e6)]
Millimetres = Annotated[float, Meta(gt=0.0, le=1e4)]
Step = Annotated[int, Meta(ge=-1_048_576, le=1_048_575)]
Utc = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$(?!\n)")]
Vector = tuple[float, float, float]
_DATE = "%Y-%m-%dT%H:%M:%SZ"


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """What every file says."""

    format: Literal[1]
    date: Utc
    """When it was measured."""
    tool: Line
    """Version of this program that measured it."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a date that is none, such as the 31st of February."""
        _ = self.measured

    @property
    def measured(self) -> datetime:
        """`date`, in UTC."""
        try:
            return datetime.strptime(self.date, _DATE).replace(tzinfo=timezone.utc)
        except ValueError:
            raise ValueError(f"date {self.date}: there is no such time") from None


class Motor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One joint: which motor it was measured on, and what was found."""

    joint: Line
    id: Annotated[int, Meta(ge=0, le=253)]
    model: Line
    firmware: Line
    homing: Step
    """Homing offset in the motor, counts, as its driver reads it."""
    zero_step: Step
    """Encoder count at joint angle zero."""
    direction: Literal[1, -1]
    range_rad: tuple[Angle, Angle]
    """From one mechanical stop to the other."""
    noise_steps: Error
    """Standard deviation of the encoder at rest, counts."""


class BusCalibration(Calibration, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="bus"):
    """The joints of one bus."""

    bus: Line
    adapter: Line
    """USB identity of the adapter, for the owner; the motors are what a calibration belongs to."""
    motors: Annotated[tuple[Motor, ...], Meta(min_length=1, max_length=254)]


class Board(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The ChArUco board that a camera was shown."""

    columns: Annotated[int, Meta(ge=3, le=20)] = 8
    """Squares along it."""
    rows: Annotated[int, Meta(ge=3, le=20)] = 6
    square_mm: Millimetres = 30.0
    """Edge of a square, as measured on the paper."""


class Mount(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a camera is fixed: `rotation` and `translation_m` take its points (x right, y down, z ahead) to `frame`."""

    frame: Literal["tip", "base"]
    """The link that kinematics.tip names, where the arm carries the camera, or the root of its URDF."""
    rotation: tuple[Vector, Vector, Vector]
    """Rows of a rotation matrix."""
    translation_m: Vector
    poses: Count
    """Poses of the arm that it was found from."""
    error_mm: Error
    """How far apart the poses see the board, root mean square."""
    error_deg: Error


class CameraCalibration(Calibration, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="camera"):
    """One camera's lens, OpenCV's pinhole model: pixel (0, 0) is the centre of the first pixel."""

    camera: Line
    device: Line
    """USB identity; the driver's name where it is no USB camera."""
    width: Annotated[int, Meta(ge=1, le=8192)]
    height: Annotated[int, Meta(ge=1, le=8192)]
    focal_px: tuple[Pixels, Pixels]
    """Along x and y."""
    centre_px: tuple[float, float]
    distortion: tuple[float, float, float, float]
    """k1, k2, p1, p2."""
    board: Board
    views: Count
    error_px: Error
    """Of reprojection, root mean square over all corners."""
    focal_error_px: Error
    """Standard deviation of the focal length that these views leave."""
    mount: Mount | None = None
    """None where it was not measured."""


class LatencyCalibration(Calibration, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="latency"):
    """Delays between motion, camera and motors, found by moving one joint in the camera's sight."""

    camera: Line
    device: Line
    joint: Line
    camera_delay_ms: Annotated[float, Meta(ge=-1000.0, le=5000.0)]
    """By how much a frame's stamp is later than what it shows."""
    camera_spread_ms: Error
    """Standard deviation over parts of the measurement."""
    actuator_delay_ms: Annotated[float, Meta(ge=-1000.0, le=5000.0)]
    """By how much the joint follows its setpoint later."""
    actuator_spread_ms: Error
    correlation: Annotated[float, Meta(ge=0.0, le=1.0)]
    """Between what moved and what the camera saw, at that delay."""
    frames: Count

    @property
    def camera_delay_ns(self) -> int:
        """What to take off a frame's stamp, ns."""
        return round(self.camera_delay_ms * 1e6)


C = TypeVar("C", bound=Calibration)


def bus_file(folder: Path, name: str) -> Path:
    return folder / f"bus-{name}.json"


def unfinished(file: Path) -> Path:
    """Where what was found so far is kept, beside the file that it will become."""
    return file.with_name(f"{file.name}.partial")


def camera_file(folder: Path, name: str) -> Path:
    return folder / f"camera-{name}.json"


def latency_file(folder: Path, name: str) -> Path:
    """Of the camera `name`."""
    return folder / f"latency-{name}.json"


def now() -> str:
    """The date that a file carries: UTC, to the second."""
    return datetime.now(timezone.utc).strftime(_DATE)


def tool() -> str:
    """This program and its version."""
    return f"edge-runtime {metadata.version('edge-runtime')}"


def write(path: Path, found: msgspec.Struct) -> None:
    """All of it, or the file that was there before."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")


def read(path: Path, kind: type[C]) -> C | None:
    """What the file says; None where there is none. Raises `ConfigError`, one line that names the file."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(text) > MOST_BYTES:
        raise ConfigError(f"{path}: more than {MOST_BYTES} bytes: this is no calibration")
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}: measure again with edge calibrate") from error
