"""meta/info.json of a LeRobotDataset: rate, features, and where files are.

huggingface/lerobot, src/lerobot/datasets/utils.py (v3.0) and its version of release 0.3 (v2.1). v2.0 differs from v2.1
only in statistics that are not read here.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from calibration.datasets.base import DatasetError

STATE = "observation.state"
ACTION = "action"
VERSIONS = ("v2.0", "v2.1", "v3.0")
CHUNKS_SIZE = 1000
"""Files in a folder, where nothing else is said."""
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
"""Where v3.0 has its files, where nothing else is said."""
_RATES_HZ = (0.0, 1000.0)
_LONGEST_SIDE = 1 << 14
_FIELD = re.compile(r"\{(\w+)(?::0(\d)d)?\}")
T = TypeVar("T")


class Feature(msgspec.Struct, frozen=True):
    """One column or video. Sizes of an image are [height, width, 3] or [3, height, width], whatever `names` says."""

    dtype: str
    shape: tuple[int, ...]
    names: Any = None
    info: dict[str, Any] | None = None
    video_info: dict[str, Any] | None = None

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """[height, width, 3] of an RGB image or video; None for anything else, depth among it."""
        facts = {**(self.video_info or {}), **(self.info or {})}
        if self.dtype not in ("image", "video") or facts.get("is_depth_map") or facts.get("video.is_depth_map"):
            return None
        if len(self.shape) != 3 or not 1 <= min(self.shape) <= max(self.shape) <= _LONGEST_SIDE:
            return None
        if 3 not in (self.shape[0], self.shape[2]):
            return None
        height, width = self.shape[:2] if self.shape[2] == 3 else self.shape[1:]
        return height, width, 3

    @property
    def dims(self) -> int:
        """Dimensions of a vector of floats; 0 for anything else."""
        return max(0, self.shape[0]) if self.dtype in ("float32", "float64") and len(self.shape) == 1 else 0

    @property
    def dim_names(self) -> tuple[str, ...]:
        """A name for each dimension: from a list, from the one list in a dict, or from a dict of places; or none."""
        names = self.names
        if isinstance(names, dict) and all(isinstance(place, int) for place in names.values()):
            names = sorted(names, key=names.__getitem__)
        elif isinstance(names, dict) and len(names) == 1:
            (names,) = names.values()
        fits = isinstance(names, list) and len(names) == self.dims and all(isinstance(name, str) for name in names)
        return tuple(names) if fits else ()


class Info(msgspec.Struct, frozen=True):
    """meta/info.json. `video_path` is None where there are none."""

    codebase_version: str
    fps: float
    total_episodes: int
    features: dict[str, Feature]
    data_path: str
    video_path: str | None = None
    chunks_size: int = CHUNKS_SIZE

    @property
    def image_shapes(self) -> dict[str, tuple[int, int, int]]:
        """[height, width, 3] of every camera, by name."""
        return {name: shape for name in sorted(self.features) if (shape := self.features[name].image_shape)}

    @property
    def vectors(self) -> tuple[str, ...]:
        """Vectors that were observed."""
        found = (name for name, feature in self.features.items() if name.startswith("observation.") and feature.dims)
        return tuple(sorted(found))

    @property
    def dims(self) -> dict[str, int]:
        """Dimensions of every vector that is read: those, and the action."""
        names = [*self.vectors, ACTION] if ACTION in self.features else self.vectors
        return {name: self.features[name].dims for name in names}


def read_info(folder: Path) -> Info:
    """meta/info.json of the dataset in `folder`."""
    path = folder / "meta" / "info.json"
    info = decode(read_bytes(path), Info, str(path))
    if info.codebase_version not in VERSIONS:
        raise DatasetError(f"{path}: codebase_version is {info.codebase_version!r}, {', '.join(VERSIONS)} can be read")
    if not _RATES_HZ[0] < info.fps <= _RATES_HZ[1] or not math.isfinite(info.fps):
        raise DatasetError(f"{path}: fps is {info.fps}")
    if info.chunks_size < 1:
        raise DatasetError(f"{path}: chunks_size is {info.chunks_size}")
    for name in (STATE, ACTION):
        if not info.dims.get(name):
            raise DatasetError(f"{path}: features: {name!r} is not a vector of floats")
    return info


def place(folder: Path, template: str, **values: str | int) -> Path:
    """The file that a path of info.json names, its fields ({video_key}, {episode_index:06d}) filled in.

    Raises `DatasetError` for a field that is not in `values`, and where it leads out of `folder`.
    """

    def fill(found: re.Match[str]) -> str:
        value = values.get(found[1])
        if value is None:
            raise DatasetError(f"{folder}/meta/info.json: path {template!r} has a field {found[1]!r}")
        return str(value).zfill(int(found[2] or 0))

    path = Path(_FIELD.sub(fill, template))
    if path.is_absolute() or ".." in path.parts or not path.parts or any(c in str(path) for c in "\0{}"):
        raise DatasetError(f"{folder}/meta/info.json: path {template!r} is not one within the dataset")
    return folder / path


def read_bytes(path: Path) -> bytes:
    """A small file of the description."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror or error}") from error


def decode(data: bytes, form: type[T], where: str) -> T:
    """JSON as `form`."""
    try:
        return msgspec.json.decode(data, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DatasetError(f"{where}: {error}") from error
