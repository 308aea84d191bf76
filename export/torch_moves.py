"""ONNX operators that move values and compute none, in PyTorch: any type goes through as it is.

Each function has its operator's inputs as arguments, in order, and its attributes as keywords with their defaults.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    """A size of -1 is what is left, a size of 0 the input's unless `allowzero`."""
    sizes: list[int] = shape.tolist()
    return x.reshape([x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(sizes)])


def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(axes.tolist())


def unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    """`axes` are those of the result."""
    given: list[int] = axes.tolist()
    rank = x.ndim + len(given)
    for axis in sorted(axis % rank for axis in given):
        x = x.unsqueeze(axis)
    return x


def transpose(x: Tensor, *, perm: Sequence[int] | None = None) -> Tensor:
    return x.permute(tuple(perm) if perm is not None else tuple(reversed(range(x.ndim))))


def expand(x: Tensor, shape: Tensor) -> Tensor:
    """Broadcasting goes both ways: a size of `shape` may be 1 where the input's is not."""
    return x.expand(np.broadcast_shapes(x.shape, tuple(shape.tolist())))


def tile(x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(repeats.tolist())


def concat(*xs: Tensor, axis: int) -> Tensor:
    return torch.cat(xs, dim=axis)


def split(x: Tensor, sizes: Tensor | None = None, *, axis: int = 0, num_outputs: int = 0) -> tuple[Tensor, ...]:
    """Without `sizes` all parts but the last are equally long."""
    if sizes is not None:
        return torch.split_with_sizes(x, sizes.tolist(), axis)
    size = x.shape[axis]
    part = math.ceil(size / num_outputs)
    starts = [min(i * part, size) for i in range(num_outputs)]
    return tuple(x.narrow(axis, start, min(part, size - start)) for start in starts)


def slice_(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    """Bounds count from the end where they are negative, and are brought inside of the axis."""
    along = axes if axes is not None else torch.arange(len(starts))
    strides = steps if steps is not None else torch.ones_like(starts)
    for start, end, axis, step in zip(*(part.tolist() for part in (starts, ends, along, strides)), strict=True):
        chosen = _stretch(start, end, step, x.shape[axis])
        if step == 1:
            x = x.narrow(axis, chosen.start if chosen else 0, len(chosen))
        else:
            x = x.index_select(axis, torch.tensor(chosen, dtype=torch.int64))
    return x


def _stretch(start: int, end: int, step: int, size: int) -> range:
    """Unlike Python's slices, one that goes back from before the first value has that value."""
    first, last = (start + size if start < 0 else start), (end + size if end < 0 else end)
    if step > 0:
        return range(min(max(first, 0), size), min(max(last, 0), size), step)
    return range(min(max(first, 0), size - 1), min(max(last, -1), size - 1), step)


def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    axis %= x.ndim
    found = x.index_select(axis, _positive(indices, x.shape[axis]).flatten())
    return found.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    return x.gather(axis, _positive(indices, x.shape[axis]))


def _positive(indices: Tensor, size: int) -> Tensor:
    """Indices from the end as indices from the start, int64."""
    wide = indices.to(torch.int64)
    return torch.where(wide < 0, wide + size, wide)


def pad(
    x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None, *, mode: str = "constant"
) -> Tensor:
    """`pads` are how many values each axis gets before its first one, then after its last one; negative: loses."""
    amounts: list[int] = pads.tolist()
    along: list[int] = [axis % x.ndim for axis in axes.tolist()] if axes is not None else list(range(x.ndim))
    sides = {axis: (amounts[i], amounts[i + len(along)]) for i, axis in enumerate(along)}
    if mode == "constant":
        flat = [amount for axis in reversed(range(x.ndim)) for amount in sides.get(axis, (0, 0))]
        return F.pad(x, flat, value=0 if value is None else value.item())
    for axis, (before, after) in sides.items():
        positions = torch.arange(-before, x.shape[axis] + after)
        x = x.index_select(axis, _OUTSIDE[mode](positions, x.shape[axis]))
    return x


def _reflected(positions: Tensor, size: int) -> Tensor:
    """The edge itself is not repeated."""
    period = max(2 * size - 2, 1)
    around = positions % period
    return torch.minimum(around, period - around) if size > 1 else around


_OUTSIDE: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "edge": lambda positions, size: positions.clamp(0, size - 1),
    "reflect": _reflected,
    "wrap": lambda positions, size: positions % size,
}
"""Mode of Pad → which values of an axis stand at these positions, that may be outside of it."""


def identity(x: Tensor) -> Tensor:
    return x


def where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.where(condition, x, y)


def constant(
    *,
    value: Tensor | None = None,
    value_float: float | None = None,
    value_floats: Sequence[float] | None = None,
    value_int: int | None = None,
    value_ints: Sequence[int] | None = None,
) -> Tensor:
    if value is not None:
        return value
    real = value_float if value_float is not None else value_floats
    if real is not None:
        return torch.tensor(real, dtype=torch.float32)
    return torch.tensor(value_int if value_int is not None else value_ints, dtype=torch.int64)


MOVES: Mapping[str, Callable[..., Any]] = {
    "Concat": concat,
    "Constant": constant,
    "Expand": expand,
    "Gather": gather,
    "GatherElements": gather_elements,
    "Identity": identity,
    "Pad": pad,
    "Reshape": reshape,
    "Slice": slice_,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Where": where,
}
"""Operator → its function."""
