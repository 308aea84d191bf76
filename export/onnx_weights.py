"""The weights of an ONNX file as tensors, each read when it is asked for. No file is mapped into memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from edge_runtime.errors import BackendError, one_line

DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.FLOAT8E4M3FN: torch.float8_e4m3fn,
    TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32,
    TensorProto.INT8: torch.int8,
    TensorProto.UINT8: torch.uint8,
    TensorProto.BOOL: torch.bool,
    TensorProto.INT4: torch.int8,
}
"""ONNX type → the type of its tensors. Four bits have none of their own: they are spread out to eight."""
_TYPED: dict[int, tuple[str, str]] = {
    TensorProto.FLOAT: ("float_data", "<f4"),
    TensorProto.INT64: ("int64_data", "<i8"),
    TensorProto.INT32: ("int32_data", "<i4"),
    TensorProto.FLOAT16: ("int32_data", "<u2"),
    TensorProto.BFLOAT16: ("int32_data", "<u2"),
}
"""Where small values may stand one by one, and what their bytes are; for every other type it is int32_data, u1."""


@dataclass(frozen=True)
class OnnxWeight:
    """One initializer. `read` returns its tensor, which is not to be written to; `nbytes` is what that takes in memory.

    `inside`: it stands in the graph's own file and is in memory already. Any other is read anew each time.
    """

    nbytes: int
    inside: bool
    read: Callable[[], Tensor]


def onnx_weight(path: Path, tensor: TensorProto) -> OnnxWeight:
    """What reads `tensor` of the graph in `path`; raise `BackendError` unless all of its bytes are where it says.

    A weight beside the graph must be in a file of the same folder or of one below it. `tensor` may be cleared
    afterwards.
    """
    name, kind = tensor.name, tensor.data_type
    if kind not in DTYPES:
        raise BackendError(f"{path}: weight {name} is {type_name(kind)}, which is not supported")
    shape, dtype = tuple(tensor.dims), DTYPES[kind]
    if any(size < 0 for size in shape):
        raise BackendError(f"{path}: weight {name} has shape {list(shape)}; export the bundle again")
    nbytes = math.prod(shape) * dtype.itemsize
    stored = (nbytes + 1) // 2 if kind == TensorProto.INT4 else nbytes
    if tensor.data_location == TensorProto.EXTERNAL:
        read = partial(_read, *_place(path, tensor, stored), stored)
        return OnnxWeight(nbytes, False, lambda: _decoded(read(), kind, shape))
    raw = tensor.raw_data if tensor.HasField("raw_data") else _typed(tensor)
    if len(raw) != stored:
        raise BackendError(f"{path}: weight {name} has {len(raw)} bytes, expected {stored}; export the bundle again")
    held = _decoded(torch.from_numpy(np.frombuffer(raw, np.uint8).copy()), kind, shape)
    return OnnxWeight(nbytes, True, lambda: held)


def type_name(kind: int) -> str:
    """What ONNX calls a type of values, whatever number a file gives it."""
    return str(TensorProto.DataType.Name(kind)) if kind in TensorProto.DataType.values() else f"type {kind}"


def _typed(tensor: TensorProto) -> bytes:
    """The bytes of values that stand one by one."""
    field, dtype = _TYPED.get(tensor.data_type, ("int32_data", "<u1"))
    values = np.fromiter(getattr(tensor, field), np.float32 if field == "float_data" else np.int64)
    return values.astype(dtype).tobytes()


def _place(path: Path, tensor: TensorProto, nbytes: int) -> tuple[Path, int]:
    """The file that holds the `nbytes` of `tensor`, and where they begin in it."""
    told = {entry.key: entry.value for entry in tensor.external_data}
    location, what = told.get("location", ""), f"{path}: weight {tensor.name}"
    try:
        file = path.parent / location
        inside = file.resolve().is_relative_to(path.parent.resolve())
        if not inside or PurePath(location).is_absolute() or ".." in PurePath(location).parts:
            raise BackendError(f"{what} is in {location!r}, outside of the bundle's folder; export the bundle again")
        if not file.is_file():
            raise BackendError(f"{what} is in {location!r}, which is not there; copy the whole bundle")
        offset = int(told.get("offset") or 0)
        length, size = int(told.get("length") or nbytes), file.stat().st_size
    except (OSError, ValueError) as error:  # a name or a number that is none
        raise BackendError(f"{what} cannot be found ({one_line(error)}); export the bundle again") from error
    if length != nbytes:
        raise BackendError(f"{what} has {length} bytes, expected {nbytes}; export the bundle again")
    if offset < 0 or offset + nbytes > size:
        raise BackendError(
            f"{what} is at bytes {offset} to {offset + nbytes} of {location}, which has {size}; copy the whole bundle"
        )
    return file, offset


def _read(file: Path, offset: int, nbytes: int) -> Tensor:
    """Bytes of a file as a uint8 tensor."""
    data = torch.empty(nbytes, dtype=torch.uint8)
    left = data.numpy().data
    try:
        with file.open("rb", buffering=0) as stream:
            stream.seek(offset)
            while left:  # one call reads 2 GiB at the most
                count = stream.readinto(left)
                if not count:
                    raise BackendError(f"{file}: ends before byte {offset + nbytes}; copy the whole bundle")
                left = left[count:]
    except OSError as error:
        raise BackendError(f"{file}: cannot be read ({one_line(error)})") from error
    return data


def _decoded(raw: Tensor, kind: int, shape: tuple[int, ...]) -> Tensor:
    """Little-endian bytes → a tensor of this type and shape."""
    if kind == TensorProto.INT4:
        low, high = (raw << 4).view(torch.int8) >> 4, raw.view(torch.int8) >> 4
        return torch.stack((low, high), dim=-1).flatten()[: math.prod(shape)].reshape(shape)
    if kind == TensorProto.BOOL:
        return (raw != 0).reshape(shape)
    return raw.view(DTYPES[kind]).reshape(shape)
