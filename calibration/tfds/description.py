"""What a TensorFlow dataset says of itself: dataset_info.json (name, splits, shards) and features.json (shapes).

tensorflow_datasets/core/proto/{dataset_info,feature}.proto, as JSON. Numbers may be written as strings there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from calibration.datasets.base import DatasetError

_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
T = TypeVar("T")


class Split(msgspec.Struct, frozen=True, rename="camel"):
    """One split and how many records each of its shards holds."""

    name: str
    shard_lengths: tuple[int, ...]
    filepath_template: str = _TEMPLATE


class Info(msgspec.Struct, frozen=True, rename="camel"):
    """dataset_info.json"""

    name: str
    splits: tuple[Split, ...]
    file_format: str = "tfrecord"


class Shape(msgspec.Struct, frozen=True):
    """Sizes, -1 where left open."""

    dimensions: tuple[int, ...] = ()


class Tensor(msgspec.Struct, frozen=True):
    """An array; `encoding` other than "none" means bytes instead of a list of numbers."""

    shape: Shape
    dtype: str
    encoding: str = "none"


class Image(msgspec.Struct, frozen=True, rename="camel"):
    """An encoded image."""

    shape: Shape
    dtype: str = "uint8"


class _Children(msgspec.Struct, frozen=True):
    features: dict[str, Node]


class _Sequence(msgspec.Struct, frozen=True):
    feature: Node


class Node(msgspec.Struct, frozen=True, rename="camel"):
    """One feature: a leaf (tensor, image, text) or something that holds more of them."""

    features_dict: _Children | None = None
    sequence: _Sequence | None = None
    tensor: Tensor | None = None
    image: Image | None = None
    text: dict[str, object] | None = None


def read_info(folder: Path) -> Info:
    """dataset_info.json of a dataset version's folder."""
    info = _read(folder / "dataset_info.json", Info)
    if info.file_format != "tfrecord":
        raise DatasetError(f"{folder}/dataset_info.json: files are {info.file_format!r}, only tfrecord can be read")
    return info


def read_features(folder: Path) -> dict[str, Node]:
    """features.json as leaves by flattened name ("steps/observation/state"), as a serialized episode names them."""
    path = folder / "features.json"
    try:
        return dict(_leaves(_read(path, Node), ""))
    except RecursionError as error:
        raise DatasetError(f"{path}: features are nested too deeply") from error


def shard_paths(folder: Path, info: Info, split: str) -> list[tuple[Path, int]]:
    """Files of a split and how many records each should hold."""
    chosen = next((s for s in info.splits if s.name == split), None)
    where = folder / "dataset_info.json"
    if chosen is None:
        raise DatasetError(f"{where}: no split {split!r}; it has {sorted(s.name for s in info.splits)}")
    stem = f"{info.name}-{split}.tfrecord"
    if chosen.filepath_template != _TEMPLATE or "/" in stem or "\0" in stem:
        raise DatasetError(f"{where}: files of split {split!r} are named in an unknown way")
    count = len(chosen.shard_lengths)
    return [(folder / f"{stem}-{i:05d}-of-{count:05d}", n) for i, n in enumerate(chosen.shard_lengths)]


def _read(path: Path, form: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=form, strict=False)
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror or error}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DatasetError(f"{path}: {error}") from error


def _leaves(node: Node, name: str) -> Iterator[tuple[str, Node]]:
    if node.features_dict is not None:
        for key, child in node.features_dict.features.items():
            yield from _leaves(child, f"{name}/{key}" if name else key)
    elif node.sequence is not None:
        yield from _leaves(node.sequence.feature, name)
    else:
        yield name, node
