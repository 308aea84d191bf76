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
    return _swapped(x.reshape(x.shape[0], x.shape[1], heads, -1))


def join_heads(x: Tensor) -> Tensor:
    """[B, heads, S, D] → [B, S, heads·D]."""
    return _swapped(x).flatten(2)


def _swapped(x: Tensor) -> Tensor:
    """[B, M, N, D] → [B, N, M, D]. Where one of both is 1 nothing moves, but a transposition would still be a copy."""
    batch, m, n, width = x.shape
    return x.reshape(batch, n, m, width) if 1 in (m, n) else x.transpose(1, 2)


def additive(mask: Tensor) -> Tensor:
    """Boolean mask (True: may be seen) → what is added to attention scores."""
    return (1.0 - mask.to(torch.float32)) * MASKED


def positions_of(mask: Tensor) -> Tensor:
    """Positions float32 [B, S] of the valid tokens of `mask` bool [B, S]; the others do not advance the count."""
    return mask.to(torch.float32).cumsum(dim=1) - 1.0


class Rotary(NamedTuple):
    """Cosine of every position's angles, and sine, negative for the second half of them, float32 [B, S, 1, D]."""

    cos: Tensor
    sin: Tensor


def rotary(positions: Tensor, head_dim: int, base: float = 10000.0) -> Rotary:
    """Rotary tables for `positions` [B, S] (https://arxiv.org/abs/2104.09864, half-split as Gemma and Llama)."""
    exponent = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim
    angles = positions.to(torch.float32)[:, :, None, None] * (1.0 / base**exponent)
    cos, sin = angles.cos(), angles.sin()
    return Rotary(torch.cat([cos, cos], dim=-1), torch.cat([sin, -sin], dim=-1))


def rotate(x: Tensor, table: Rotary) -> Tensor:
    """Turn x [B, S, heads, D] by its positions' angles."""
    y = x.float()
    a, b = (y * table.sin).chunk(2, dim=-1)
    return (y * table.cos + torch.cat([b, a], dim=-1)).to(x.dtype)


def last_valid(x: Tensor, mask: Tensor) -> Tensor:
    """x [B, S, W] at the last valid position of `mask` bool [B, S] → [B, W]."""
    index = (mask.to(torch.float32) * torch.arange(mask.shape[1], device=mask.device)).amax(dim=1).to(torch.int64)
    return x.gather(1, index[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]
