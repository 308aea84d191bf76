"""The trained policy as a checkpoint in the lerobot pi0 layout."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from benchmarks.demo.act import Scale
from benchmarks.demo.teacher import DT_S
from benchmarks.demo.words import MAX_TOKENS
from drivers.sim.arm import JOINTS
from drivers.sim.render import HEIGHT, NAMES, WIDTH
from edge_runtime.bundle_spec import CameraSpec, FlowSpec, Normalisation, PolicySpec, PromptSpec, VectorSpec
from export.lerobot_save import save_lerobot
from export.models.pi0 import Pi0

FLOW_STEPS = 10


def write_checkpoint(model: Pi0, scale: Scale, tokenizer: Tokenizer, out: Path, committed: int = 0) -> Path:
    """Write `model` to the directory `out`, weights in half precision, and return `out`.

    `committed`: how many rows it was trained to be given.
    """
    words = out.with_name(out.name + ".tokenizer.json")
    words.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(words))
    joints = VectorSpec(JOINTS, ("rad",) * len(JOINTS), model.config.state_padded)
    spec = PolicySpec(
        cameras=tuple(CameraSpec(name, HEIGHT, WIDTH) for name in NAMES),
        state=joints,
        action=joints,
        horizon=model.config.horizon,
        dt_s=DT_S,
        control_mode="absolute",
        head=FlowSpec(FLOW_STEPS, 1.0, 0.0, (), committed=committed),
        prompt=PromptSpec("{instruction}\n", MAX_TOKENS, None, 0),
        state_normalisation=_mean_std(scale.state_mean, scale.state_std),
        action_normalisation=_mean_std(scale.action_mean, scale.action_std),
    )
    save_lerobot(model, spec, words, out, torch.float16)
    words.unlink()
    return out


def _mean_std(mean: Tensor, std: Tensor) -> Normalisation:
    return Normalisation("mean_std", tuple(mean.tolist()), tuple(std.tolist()))
