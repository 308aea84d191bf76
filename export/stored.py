"""Tensors of a checkpoint by name, one read at a time: safetensors files, sharded ones, and torch's own format.

Nothing is mapped: a tensor's bytes are read into memory of its own, so that what was read once does not stay resident.
Pickle is never executed. Whatever is wrong is one line: what, where, what to do.
"""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import torch
from torch import Tensor

from edge_runtime.bundle import sha256
from export.errors import CheckpointError
from export.json_file import read_json

_FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_WHOLES = {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8}
DTYPES = _FLOATS | _WHOLES | {"BOOL": torch.bool}
"""What a checkpoint may hold, by its name in a safetensors header."""


@dataclass(frozen=True)
class Entry:
    """One tensor: the file it stands in, its shape, and what reads it."""

    path: Path
    shape: tuple[int, ...]
    read: Callable[[], Tensor]


class Stored:
    """Tensors of one or more files by name; read one at a time; pickle is never executed."""

    def __init__(self, entries: Mapping[str, Entry], files: Iterable[Path]) -> None:
        self._entries = dict(entries)
        self.files = tuple(sorted(set(files)))
        self.names = frozenset(self._entries)

    def __str__(self) -> str:
        """The file, or the directory that holds the files."""
        return str(self.files[0]) if len(self.files) == 1 else os.path.commonpath([f.parent for f in self.files])

    def where(self, name: str) -> Path:
        """The file that holds `name`."""
        return self._entry(name).path

    def shape(self, name: str) -> tuple[int, ...]:
        return self._entry(name).shape

    def tensor(self, name: str) -> Tensor:
        """Read `name` now, in the dtype it is stored in, into memory that belongs to the caller."""
        return self._entry(name).read()

    def sha256(self) -> str:
        """Of the one file; of several, the hash of their names and hashes, sorted."""
        if len(self.files) == 1:
            return sha256(self.files[0])
        lines = sorted(f"{file.name} {sha256(file)}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _entry(self, name: str) -> Entry:
        if name not in self._entries:
            raise CheckpointError(f"{self}: has no tensor {name}")
        return self._entries[name]


def merged(parts: Iterable[Stored]) -> Stored:
    """Several checkpoints as one; `CheckpointError` where two of them hold the same name."""
    entries: dict[str, Entry] = {}
    files: list[Path] = []
    for part in parts:
        for name in sorted(part.names):
            if name in entries:
                raise CheckpointError(f"{part.where(name)}: {name} also stands in {entries[name].path}")
            entries[name] = part._entry(name)
        files.extend(part.files)
    return Stored(entries, files)


class _Head(msgspec.Struct):
    """What a safetensors header says of one tensor; the offsets count from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def open_safetensors(path: Path) -> Stored:
    """Read the header of a safetensors file: its length in 8 bytes, then JSON, then the tensors without gaps.

    Format: https://github.com/huggingface/safetensors#format
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; a checkpoint needs it")
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            start, size = 8 + length, path.stat().st_size
            if start > size:
                raise ValueError("it ends before its header does")
            heads = msgspec.json.decode(file.read(length), type=dict[str, msgspec.Raw])
        heads.pop("__metadata__", None)
        found = {name: msgspec.json.decode(raw, type=_Head) for name, raw in heads.items()}
        _check_gaps(found, size - start)
    except (OSError, ValueError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise CheckpointError(f"{path}: not a complete safetensors file ({error}); copy it again") from error
    return Stored({name: _placed(path, start, name, head) for name, head in found.items()}, [path])


def _placed(path: Path, start: int, name: str, head: _Head) -> Entry:
    dtype, (begin, end) = DTYPES.get(head.dtype), head.data_offsets
    if dtype is None:
        raise CheckpointError(f"{path}: {name} is {head.dtype}, which is not read; convert it to F32, F16 or BF16")
    if min(head.shape, default=0) < 0 or math.prod(head.shape) * dtype.itemsize != end - begin:
        raise CheckpointError(
            f"{path}: not a complete safetensors file ({name} is {head.dtype} {list(head.shape)} in "
            f"{end - begin} bytes); copy it again"
        )
    return Entry(path, head.shape, partial(_read, path, start + begin, dtype, head.shape))


def _check_gaps(heads: Mapping[str, _Head], size: int) -> None:
    """The tensors must fill the file: nothing overlaps, nothing is left over, nothing is missing."""
    at = 0
    for name, head in sorted(heads.items(), key=lambda item: item[1].data_offsets):
        begin, end = head.data_offsets
        if begin != at or end < begin:
            raise ValueError(f"{name} stands at {begin}, expected at {at}")
        at = end
    if at != size:
        raise ValueError(f"it holds {size} bytes of tensors, its header says {at}")


def _read(path: Path, offset: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    tensor = torch.empty(shape, dtype=dtype)
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            complete = _fill(file, tensor.reshape(-1).view(torch.uint8).numpy().data)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if not complete:
        raise CheckpointError(f"{path}: it has become shorter while it was read; copy it again")
    return tensor


def _fill(file: Any, into: memoryview) -> bool:
    """Read until `into` is full (one call gives at most 2 GiB); False where the file ends before that."""
    while into:
        count = file.readinto(into)
        if not count:
            return False
        into = into[count:]
    return True


class _Index(msgspec.Struct):
    """model.safetensors.index.json."""

    weight_map: dict[str, str]


def open_sharded(index: Path) -> Stored:
    """The tensors that `index` names, in the files that it names beside itself."""
    shards: dict[str, Stored] = {}
    entries: dict[str, Entry] = {}
    for name, file in read_json(index, _Index).weight_map.items():
        if file not in shards:
            shards[file] = _shard(index, file)
        if name not in shards[file].names:
            raise CheckpointError(f"{index.parent / file}: lacks {name}, which {index.name} says it has; copy it again")
        entries[name] = shards[file]._entry(name)
    if not entries:
        raise CheckpointError(f"{index}: names no tensor")
    return Stored(entries, [index.parent / file for file in shards])


def _shard(index: Path, file: str) -> Stored:
    parts = PurePosixPath(file)
    if parts.is_absolute() or ".." in parts.parts:
        raise CheckpointError(f"{index}: names a file {file!r} outside its directory")
    if not (index.parent / file).is_file():
        raise CheckpointError(f"{index}: names {file}, which is not beside it; copy the whole checkpoint")
    return open_safetensors(index.parent / file)


def open_pt(path: Path) -> Stored:
    """The tensors of a file that `torch.save` wrote, if it is a flat dictionary of plain tensors and nothing else.

    A leading `module.`, which DistributedDataParallel adds, is taken off every name. What cannot be read in parts (the
    format before torch 1.6) is held in memory.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; a checkpoint needs it")
    tensors = _plain(path, _unpickle(path, "meta"))
    if any(_offset(tensor) is None for tensor in tensors.values()):
        tensors = _plain(path, _unpickle(path, "cpu"))
    entries: dict[str, Entry] = {}
    for name, tensor in tensors.items():
        short = name.removeprefix("module.")
        if short in entries:
            raise CheckpointError(f"{path}: holds both {short} and module.{short}; keep one of them")
        entries[short] = Entry(path, tuple(tensor.shape), partial(_unpacked, path, tensor))
    return Stored(entries, [path])


def _unpickle(path: Path, device: str) -> object:
    """What the file holds, on `device`: `meta` for the layout alone. Only plain tensors are unpickled."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise _not_plain(path, "it needs code to be read, or is damaged") from error
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise CheckpointError(f"{path}: not a complete torch file ({_first_line(error)}); copy it again") from error


def _plain(path: Path, found: object) -> dict[str, Tensor]:
    if not isinstance(found, dict):
        raise _not_plain(path, f"it is one {type(found).__name__}")
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise _not_plain(path, f"{name} is of type {type(tensor).__name__}")
        if tensor.dtype not in DTYPES.values() or tensor.layout != torch.strided:
            raise CheckpointError(f"{path}: {name} is {tensor.dtype}, {tensor.layout}; convert it to plain float32")
    return found


def _not_plain(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path}: is not plain tensors; {why}. Save the model's state_dict alone")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].split(". ")[0]


def _offset(tensor: Tensor) -> int | None:
    """Where in its file the storage of a tensor on the meta device begins, as torch.load leaves it; None for others."""
    found: int | None = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    return found if tensor.is_meta else None


def _unpacked(path: Path, tensor: Tensor) -> Tensor:
    """A tensor's values, read where its storage stands in the file; a copy of what is in memory already."""
    offset = _offset(tensor)
    if offset is None:
        return tensor.detach().clone(memory_format=torch.contiguous_format)
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    span = last + 1 if tensor.numel() else 0
    flat = _read(path, offset + int(tensor.storage_offset()) * tensor.itemsize, tensor.dtype, (span,))
    return flat.as_strided(tensor.shape, tensor.stride()).contiguous()
