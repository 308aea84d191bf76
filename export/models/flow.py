"""Flow time: which times a sampler visits, and how a model is told them. pi0, pi0.5 and SmolVLA share it.

Times run from 1 (noise) down to 1/n; the last Euler step ends at 0 (actions).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from edge_runtime.bundle_spec import FlowSpec
from export.checkpoint import Checkpoint

Counting = Literal["fraction", "accumulated"]
"""`fraction`: 1 - k/n, rounded to float32 once (lerobot from 0.4.3). `accumulated`: -1/n added up in float32 (openpi,
lerobot up to 0.4.2)."""


def flow_times(steps: int, how: Counting) -> Tensor:
    """The times of `steps` Euler steps, float64 [steps]. They are float32 numbers: both references round them so.

    The rounding matters: at the shortest period, 4e-3, a float32 time is up to 5e-5 rad from 1 - k/n.
    """
    if how == "fraction":
        times = [1.0 - k * (1.0 / steps) for k in range(steps)]
        return torch.tensor(times, dtype=torch.float32).to(torch.float64)
    time, step = torch.tensor(1.0), torch.tensor(-1.0 / steps)
    accumulated = [time]
    for _ in range(steps - 1):
        accumulated.append(accumulated[-1] + step)
    return torch.stack(accumulated).to(torch.float64)


def time_embedding(t: Tensor, dim: int, min_period: float, max_period: float) -> Tensor:
    """Sine and cosine of times t [...] at periods spaced geometrically → float32 [..., dim].

    In float64 inside: angles reach 2π/min_period ≈ 1571 rad, where float32 moves the finished chunk by 2e-5 to 4e-5.
    """
    fraction = torch.linspace(0.0, 1.0, dim // 2, dtype=torch.float64, device=t.device)
    period = min_period * (max_period / min_period) ** fraction
    angle = t.to(torch.float64)[..., None] * (2.0 * math.pi / period)
    return torch.cat([angle.sin(), angle.cos()], dim=-1).to(torch.float32)


def each_row(cond: Tensor, rows: int) -> Tensor:
    """What is known of one time [B, W] for each of `rows` actions → [B, rows, W]; of every action's own, as it is."""
    return cond[:, None, :].expand(-1, rows, -1) if cond.ndim == 2 else cond


def constants(model: nn.Module, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """`flow_constants` of a flow model, which has a method `cond`, for a checkpoint's steps and way of counting, and
    `cond.clean` [1, W] of t_end where it was trained with committed actions."""
    head = checkpoint.spec.head
    assert isinstance(head, FlowSpec)
    cond: Callable[[Tensor], Tensor] = cast(Any, model).cond
    clean = {"cond.clean": cond(torch.full((1,), head.t_end, dtype=torch.float64))} if head.committed else {}
    return flow_constants(cond, head.steps, checkpoint.time) | clean


@torch.no_grad()
def flow_constants(cond: Callable[[Tensor], Tensor], steps: int, how: Counting) -> dict[str, Tensor]:
    """What `cond` makes of the times of every step count up to `steps`: `cond.<n>` float32 [n, W]."""
    return {f"cond.{n}": cond(flow_times(n, how)) for n in range(1, steps + 1)}
