"""Weights between a safetensors file and a module: by name, checked, one tensor at a time. Pickle is never read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from export.errors import CheckpointError

Module = TypeVar("Module", bound=nn.Module)


def open_tensors(path: Path) -> Any:
    """Open a safetensors file for reading tensor by tensor; `CheckpointError` where it is missing or truncated."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; a checkpoint needs it")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a complete safetensors file ({error}); copy it again") from error


def load_weights(
    build: Callable[[], Module],
    path: Path,
    stored_name: Callable[[str, Iterable[str]], str],
    unused: Callable[[str], bool],
) -> Module:
    """Build a module without memory of its own and give it the tensors of `path` as float32, for inference.

    `stored_name` maps a parameter's name to the file's (given all names in the file); stored tensors for which `unused`
    is true may be left over. Any other difference in names or shapes is a `CheckpointError`.
    """
    with torch.device("meta"):
        module = build()
    with open_tensors(path) as file:
        stored = set(file.keys())
        wanted = {name: stored_name(name, stored) for name in module.state_dict()}
        _refuse(path, "lacks", sorted(set(wanted.values()) - stored))
        left = stored - set(wanted.values())
        _refuse(path, "has unexpected", sorted(name for name in left if not unused(name)))
        for name, parameter in module.state_dict().items():
            shape = tuple(file.get_slice(wanted[name]).get_shape())
            if shape != tuple(parameter.shape):
                raise CheckpointError(
                    f"{path}: {wanted[name]} has shape {list(shape)}, the sizes say {list(parameter.shape)}; "
                    "give the right sizes with --dims"
                )
        tensors = ((name, file.get_tensor(wanted[name]).to(torch.float32)) for name in wanted)
        for name, tensor in tensors:
            if not torch.isfinite(tensor).all():
                raise CheckpointError(f"{path}: {wanted[name]} has values that are not finite")
            owner, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(owner), leaf, nn.Parameter(tensor, requires_grad=False))
    return module.eval()


def _refuse(path: Path, verb: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise CheckpointError(f"{path}: {verb} tensor{'s' * (len(names) > 1)} {', '.join(names[:3])}{more}")


def save_weights(tensors: Mapping[str, torch.Tensor], path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write `tensors` to a safetensors file as `dtype`."""
    save_file({name: t.detach().to("cpu", dtype).contiguous().clone() for name, t in tensors.items()}, path)
    path.chmod(0o644)  # safetensors writes files that only their owner may read
