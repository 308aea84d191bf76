"""A SmolVLA of a few thousand numbers and its checkpoint in the lerobot layout, all from a seed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from export.models.smolvla import SmolVla, SmolVlaConfig, decoders, published_name
from export.models.smolvlm import smollm
from export.models.vit import VitConfig
from tests.export import tiny_lerobot, tiny_pi

VLM = smollm(24, 5, 40, 6, 2, 8, norm_eps=1e-6)
LANGUAGE, EXPERT = decoders(VLM, layers=4, expert_layers=-1, multiplier=0.75)
VISION = VitConfig(hidden=20, layers=2, heads=2, mlp=32, patch=6, image=36)
CONFIG = SmolVlaConfig(
    VISION,
    LANGUAGE,
    EXPERT,
    scale_factor=3,
    vocab=tiny_pi.VOCAB,
    horizon=tiny_pi.HORIZON,
    state_padded=8,
    action_padded=9,
)
"""Of the VLM's five layers four are kept."""
DIMS: dict[str, Any] = {
    "vlm": {"hidden": 24, "mlp": 40, "layers_in_vlm_config": 5, "heads": 6, "kv_heads": 2, "head_dim": 8},
    "vision": asdict(VISION),
    "scale_factor": 3,
    "vocab": CONFIG.vocab,
    "fps": 20.0,
    "units": "rad",
}


def model(seed: int = 0) -> SmolVla:
    """Random weights, none of them left at zero or one."""
    torch.manual_seed(seed)
    made = SmolVla(CONFIG)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made.eval().requires_grad_(False)


def saved(folder: Path, **config: Any) -> Path:
    """Write the checkpoint directory, with dims.json and tokenizer.json; `config` changes config.json."""
    told = {
        "chunk_size": CONFIG.horizon,
        "n_action_steps": CONFIG.horizon,
        "max_state_dim": CONFIG.state_padded,
        "max_action_dim": CONFIG.action_padded,
        "resize_imgs_with_padding": [VISION.image, VISION.image],
        "tokenizer_max_length": 24,
        "num_steps": 4,
        "vlm_model_name": "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
        "num_vlm_layers": 4,
        "num_expert_layers": -1,
        "self_attn_every_n_layers": 2,
        "expert_width_multiplier": 0.75,
        "attention_mode": "cross_attn",
        "add_image_special_tokens": False,
        "empty_cameras": 0,
        "min_period": 4e-3,
        "max_period": 4.0,
    }
    tiny_lerobot.settings(folder, "smolvla", {**told, **config})
    weights = {f"model.{published_name(name)}": tensor for name, tensor in model().state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "dims.json").write_text(json.dumps(DIMS))
    tiny_pi.tokenizer(folder / "tokenizer.json")
    return folder
