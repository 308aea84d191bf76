"""Weights between a checkpoint and a module: by name, checked, one tensor at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from export.errors import CheckpointError
from export.stored import Stored

Module = TypeVar("Module", bound=nn.Module)

_NAMED = 3
Weights = Mapping[str, Callable[[], Tensor]]
"""Our parameter name → what reads it now: float32, finite, of the parameter's shape."""


@dataclass(frozen=True)
class Source:
    """Where a parameter of ours stands: a stored tensor, or some of its rows (along dimension 0), in another shape."""

    name: str
    rows: slice | tuple[int, ...] | None = None
    reshape: tuple[int, ...] | None = None


def bind(
    module: nn.Module,
    stored: Stored,
    source: Callable[[str, frozenset[str]], Source],
    unused: Callable[[str], bool],
) -> Weights:
    """What reads every parameter and persistent buffer of a module on the meta device. No tensor is read here.

    `source` says where the parameter of a name stands, given all names that are stored; stored tensors for which
    `unused` is true may be left over. Any other difference in names or shapes is a `CheckpointError`. A parameter that
    two modules share is one: it has the first of its names.
    """
    wanted = dict(_tensors(module))
    sources = {name: source(name, stored.names) for name in wanted}
    taken = {place.name for place in sources.values()}
    _refuse(stored, taken - stored.names, {name for name in stored.names - taken if not unused(name)})
    for name, place in sources.items():
        _check_shape(stored, place, tuple(wanted[name].shape))
    return {name: partial(_read, stored, place, wanted[name]) for name, place in sources.items()}


def fill(module: Module, weights: Weights) -> Module:
    """Give a module on the meta device what `weights` reads, all of it in memory at once. Shared stays shared."""
    filled: dict[int, Tensor] = {}
    for name, tensor in dict(_tensors(module, every_name=True)).items():
        if id(tensor) not in filled:
            value = weights[name]()
            is_parameter = isinstance(tensor, nn.Parameter)
            filled[id(tensor)] = nn.Parameter(value, requires_grad=tensor.requires_grad) if is_parameter else value
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, filled[id(tensor)])
    return module


def _tensors(module: nn.Module, every_name: bool = False) -> Iterator[tuple[str, Tensor]]:
    """Parameters, and the buffers that a checkpoint keeps; each once, or under every name that it has."""
    yield from module.named_parameters(remove_duplicate=not every_name)
    kept = module.state_dict(keep_vars=True)
    yield from ((name, b) for name, b in module.named_buffers(remove_duplicate=not every_name) if name in kept)


def _refuse(stored: Stored, missing: Collection[str], unexpected: Collection[str]) -> None:
    """Raise `CheckpointError` that names what is missing and what is unexpected, the first few of each."""
    problems = [
        f"{verb} tensor{'s' * (len(found) > 1)} {', '.join(sorted(found)[:_NAMED])}"
        + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
        for verb, found in (("lacks", missing), ("has unexpected", unexpected))
        if found
    ]
    if problems:
        raise CheckpointError(f"{stored}: {' and '.join(problems)}")


def _check_shape(stored: Stored, place: Source, wanted: tuple[int, ...]) -> None:
    shape, whole = _shape(stored.shape(place.name), place), place.rows is None
    if shape != wanted:
        raise CheckpointError(
            f"{stored.where(place.name)}: {'' if whole else 'the part of '}{place.name} has shape {list(shape)}, the "
            f"sizes say {list(wanted)}; give the right sizes with --dims"
        )


def _shape(stored: tuple[int, ...], place: Source) -> tuple[int, ...]:
    """The shape of what `place` takes of a tensor of shape `stored`; as it is where that cannot be taken."""
    shape = stored
    if place.rows is not None and stored:
        rows = range(stored[0])
        if isinstance(place.rows, slice):
            inside, count = (place.rows.stop or 0) <= len(rows), len(rows[place.rows])
        else:
            inside, count = all(row in rows for row in place.rows), len(place.rows)
        shape = (count, *stored[1:]) if inside else stored
    if place.reshape is not None and math.prod(place.reshape) == math.prod(shape):
        shape = place.reshape
    return shape


def _read(stored: Stored, place: Source, wanted: Tensor) -> Tensor:
    tensor, at = stored.tensor(place.name), stored.where(place.name)
    if wanted.is_floating_point() and not tensor.is_floating_point():
        raise CheckpointError(f"{at}: {place.name} is {tensor.dtype}; give a checkpoint that is not quantised")
    if place.rows is not None:
        tensor = tensor[place.rows if isinstance(place.rows, slice) else list(place.rows)].clone()
    tensor = tensor.reshape(wanted.shape).to(torch.float32 if wanted.is_floating_point() else wanted.dtype)
    if tensor.numel() and not all(bound.isfinite() for bound in tensor.aminmax()):  # no mask as large as the tensor
        raise CheckpointError(f"{at}: {place.name} has values that are not finite")
    return tensor


def save_weights(tensors: Mapping[str, Tensor], path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write `tensors` to a safetensors file as `dtype`."""
    save_file({name: t.detach().to("cpu", dtype).contiguous().clone() for name, t in tensors.items()}, path)
    path.chmod(0o644)  # safetensors writes files that only their owner may read
