"""A checkpoint's model: built without memory, its weights bound by name, or all of them in memory."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from export.checkpoint import Checkpoint
from export.family import family
from export.weights import Source, Weights, bind, fill


def empty_model(source: Checkpoint) -> nn.Module:
    """The family's module with its parameters on the meta device."""
    with torch.device("meta"):
        return family(source.family).build(source.config).eval()


def bound(source: Checkpoint, model: nn.Module) -> Weights:
    """What reads every weight of `model`, which is on the meta device; nothing is read here.

    Raises `CheckpointError` where the checkpoint's tensors are not the model's.
    """
    kind, prefix = family(source.family), source.prefix
    names = frozenset(name.removeprefix(prefix) for name in source.stored.names)

    def place(name: str, _: frozenset[str]) -> Source:
        found = kind.source(name, names, source.config)
        return replace(found, name=prefix + found.name)

    return bind(model, source.stored, place, lambda x: x in source.read or kind.unused(x.removeprefix(prefix)))


def load_model(source: Checkpoint) -> nn.Module:
    """The model with all of its weights in memory, float32, for inference."""
    model = empty_model(source)
    return fill(model, bound(source, model)).requires_grad_(False).eval()
