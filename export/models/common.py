"""Small things that every transformer here needs: positive sizes, heads, masks, rotary positions.

Shapes: B batch, S sequence, D head_dim.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

MASKED = -1e4
"""Added to the score of a key that must not be seen. Finite in every precision: -inf makes NaN of a row of masks."""


def need_positive(config: Any, names: Iterable[str] = ()) -> None:
    """Raise `ValueError` that names the first number of a config dataclass (or of `names`) that is not above zero."""
    for name in names or vars(config):
        value = getattr(config, name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not value > 0:
            raise ValueError(f"{name} is {value}, it must be above zero")


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, S, heads·D] → [B, heads, S, D]."""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def additive(mask: Tensor) -> Tensor:
    """Boolean mask (True: may be seen) → what is added to attention scores."""
    return (1.0 - mask.to(torch.float32)) * MASKED


def positions_of(mask: Tensor) -> Tensor:
    """Positions float32 [B, S] of the valid tokens of `mask` bool [B, S]; the others do not advance the count."""
    return mask.to(torch.float32).cumsum(dim=1) - 1.0


class Rotary(NamedTuple):
    """Cosine and sine of every position's angles, float32 [B, 1, S, D]."""

    cos: Tensor
    sin: Tensor


def rotary(positions: Tensor, head_dim: int, base: float = 10000.0) -> Rotary:
    """Rotary tables for `positions` [B, S] (https://arxiv.org/abs/2104.09864, half-split as Gemma and Llama)."""
    exponent = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim
    angles = positions.to(torch.float32)[:, None, :, None] * (1.0 / base**exponent)
    angles = torch.cat([angles, angles], dim=-1)
    return Rotary(angles.cos(), angles.sin())


def rotate(x: Tensor, table: Rotary) -> Tensor:
    """Turn x [B, heads, S, D] by its positions' angles."""
    a, b = x.float().chunk(2, dim=-1)
    return (x.float() * table.cos + torch.cat([-b, a], dim=-1) * table.sin).to(x.dtype)


def last_valid(x: Tensor, mask: Tensor) -> Tensor:
    """x [B, S, W] at the last valid position of `mask` bool [B, S] → [B, W]."""
    index = (mask.to(torch.float32) * torch.arange(mask.shape[1], device=mask.device)).amax(dim=1).to(torch.int64)
    return x.gather(1, index[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]
