"""One training loop for every stage: warm-up and cosine, clipped gradients, bfloat16 where it helps, resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from benchmarks.demo.store import load_state, save_state

SAVE_EVERY_S = 60.0
_WARMUP = 100


@dataclass(frozen=True)
class Stage:
    """One stage: its name, how many steps, how fast."""

    name: str
    steps: int
    rate: float


def fit(
    stage: Stage,
    modules: dict[str, nn.Module],
    loss_of: Callable[[np.random.Generator], Tensor],
    folder: Path,
    check: Callable[[], str] | None = None,
) -> None:
    """Train every parameter of `modules` that wants gradients on `loss_of` (called with a generator for this step).

    State is kept in `folder/<stage>.safetensors`; a finished stage returns at once with its weights loaded.
    `check` makes a line about quality, shown now and then.
    """
    parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=stage.rate, betas=(0.9, 0.98), weight_decay=0.01)
    path = folder / f"{stage.name}.safetensors"
    done = load_state(path, modules, optimiser)
    saved = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(stage.name, total=stage.steps, completed=done)
        mean = math.nan
        for step in range(done, stage.steps):
            rate = stage.rate * min(1.0, (step + 1) / _WARMUP) * (0.52 + 0.48 * math.cos(math.pi * step / stage.steps))
            for group in optimiser.param_groups:
                group["lr"] = rate
            with torch.autocast(parameters[0].device.type, torch.bfloat16):
                loss = loss_of(np.random.default_rng([step, len(stage.name)]))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            mean = loss.item() if math.isnan(mean) else 0.98 * mean + 0.02 * loss.item()
            progress.update(task, advance=1, description=f"{stage.name} loss {mean:.4f}")
            last = step + 1 == stage.steps
            if (step + 1) % 200 == 0 or last:
                print(f"{stage.name} {step + 1}/{stage.steps} loss {mean:.4f} {check() if check else ''}", flush=True)
            if last or time.monotonic() - saved > SAVE_EVERY_S:
                save_state(path, modules, optimiser, step + 1)
                saved = time.monotonic()
