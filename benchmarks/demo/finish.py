"""The trained policy as a checkpoint in the lerobot pi0 layout."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer

from benchmarks.demo.act import Scale
from benchmarks.demo.teacher import DT_S
from benchmarks.demo.words import MAX_TOKENS
from drivers.sim.arm import JOINTS
from drivers.sim.render import HEIGHT, NAMES, WIDTH
from export.checkpoint import Checkpoint, Vector
from export.lerobot_save import save_lerobot
from export.models.pi0 import Pi0

FLOW_STEPS = 10


def write_checkpoint(model: Pi0, scale: Scale, tokenizer: Tokenizer, out: Path) -> Path:
    """Write `model` to the directory `out`, weights in half precision, and return `out`."""
    words = out.with_name(out.name + ".tokenizer.json")
    words.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(words))
    checkpoint = Checkpoint(
        config=model.config,
        cameras=dict.fromkeys(NAMES, (HEIGHT, WIDTH)),
        state=_vector(scale.state_mean.tolist(), scale.state_std.tolist()),
        action=_vector(scale.action_mean.tolist(), scale.action_std.tolist()),
        max_tokens=MAX_TOKENS,
        steps=FLOW_STEPS,
        tokenizer=words,
        fps=1.0 / DT_S,
    )
    save_lerobot(model, checkpoint, out, torch.float16)
    words.unlink()
    return out


def _vector(mean: list[float], std: list[float]) -> Vector:
    return Vector(JOINTS, tuple(mean), tuple(std), "rad", 1e-8)
