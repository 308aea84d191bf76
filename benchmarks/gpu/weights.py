"""Random weights of a model on the meta device: the same for whoever asks, never all of them in memory.

Products have variance-scaled weights, what multiplies after a norm is near one, biases are small: activations keep the
size that they have in a trained model. All are exact in bfloat16, so that rounding them is no part of any difference.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from export.models.decoder import RMSNorm
from export.models.vit import LayerScale

BLOCK = 4_194_301
"""A prime: rows of no weight are each other's repetition."""
_SMALL = 0.1


def random_weights(model: nn.Module) -> dict[str, Callable[[], Tensor]]:
    """Parameter name → what makes it now, bfloat16."""
    noise = torch.randn(BLOCK, generator=torch.Generator().manual_seed(0))
    found: dict[str, Callable[[], Tensor]] = {}
    for name, parameter, centre in _parameters(model):
        shape, start = tuple(parameter.shape), zlib.crc32(name.encode()) % BLOCK
        scale = math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else _SMALL
        found[name] = lambda shape=shape, start=start, scale=scale, centre=centre: _made(  # type: ignore[misc]
            noise, shape, start, scale, centre
        )
    return found


def as_float(weights: dict[str, Callable[[], Tensor]], prefix: str = "") -> dict[str, Callable[[], Tensor]]:
    """The same numbers as float32, under names behind `prefix`."""
    return {prefix + name: lambda read=read: read().float() for name, read in weights.items()}  # type: ignore[misc]


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, float]]:
    """Name, parameter, and what its numbers lie around."""
    owners = dict(model.named_modules())
    for name, parameter in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        module = owners[owner]
        centre = 0.0
        if isinstance(module, RMSNorm):
            centre = 1.0 - module.offset
        elif isinstance(module, LayerScale) or (isinstance(module, nn.LayerNorm) and leaf == "weight"):
            centre = 1.0
        yield name, parameter, centre


def _made(noise: Tensor, shape: tuple[int, ...], start: int, scale: float, centre: float) -> Tensor:
    count = math.prod(shape)
    block = noise[start : start + count] if start + count <= BLOCK else noise.roll(-start)
    whole = (block * scale + centre).to(torch.bfloat16)
    return whole.repeat(-(-count // len(whole)))[:count].reshape(shape)
