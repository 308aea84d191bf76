"""Training state on disk, so that a stopped training goes on: weights, optimiser moments, step, in safetensors."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

STEP = "step"


def save_state(path: Path, modules: dict[str, nn.Module], optimiser: torch.optim.Optimizer, step: int) -> None:
    """Write everything that training needs to go on, and move it into place when complete."""
    tensors: dict[str, Tensor] = {STEP: torch.tensor(step)}
    for prefix, module in modules.items():
        tensors |= {f"{prefix}.{name}": t.detach().clone() for name, t in module.state_dict().items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": t.clone() for name, t in moments.items()}
    part = path.with_suffix(".part")
    save_file(tensors, part)
    part.rename(path)


def load_state(path: Path, modules: dict[str, nn.Module], optimiser: torch.optim.Optimizer | None = None) -> int:
    """Read weights (and moments, for an optimiser over the same parameters) back; the step, or 0 where no file is."""
    if not path.exists():
        return 0
    tensors = load_file(path)
    for prefix, module in modules.items():
        cut = len(prefix) + 1
        module.load_state_dict({k[cut:]: t for k, t in tensors.items() if k.startswith(prefix + ".")})
    if optimiser is not None:
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            if key.startswith("optimiser."):
                _, index, name = key.split(".", 2)
                moments.setdefault(int(index), {})[name] = tensor
        optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
    return int(tensors[STEP])
