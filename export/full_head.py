"""Is the restricted head the full head's? A decoder here computes the logits of its action tokens and of no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from edge_runtime.accuracy import HeadCheck
from export.errors import ExportError

_ROWS = 16384
"""Rows of the full table that are turned to float32 at a time."""


@contextmanager
def head_inputs(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what `model.head` is given, [W] each, while the block runs."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        if not isinstance(given[0], FakeTensor):  # a run that only asks for shapes
            seen.extend(given[0].detach().reshape(-1, given[0].shape[-1]).clone())

    hook = model.get_submodule("head").register_forward_pre_hook(keep)
    try:
        yield seen
    finally:
        hook.remove()


def check_head(hidden: list[Tensor], table: Tensor, token_ids: Tensor) -> HeadCheck:
    """Decode every hidden state [W] with the whole `table` [V, W] and with its rows `token_ids` alone.

    Where the whole table's best token is an action token, it must be the restricted head's too, else `ExportError`.
    """
    states = torch.stack(hidden)
    best, winner = torch.full((len(states),), -torch.inf), torch.zeros(len(states), dtype=torch.int64)
    for first in range(0, len(table), _ROWS):
        value, index = (states @ table[first : first + _ROWS].to(torch.float32).T).max(dim=1)
        winner = torch.where(value > best, index + first, winner)
        best = torch.maximum(best, value)
    restricted = token_ids[(states @ table[token_ids].to(torch.float32).T).argmax(dim=1)]
    allowed = torch.isin(winner, token_ids)
    if not torch.equal(winner[allowed], restricted[allowed]):
        raise ExportError("head: the restricted head chooses another action token than the full one")
    return HeadCheck(len(states), int(allowed.sum()))
