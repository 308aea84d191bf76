"""A pi0 of a few thousand numbers, its tokenizer and its checkpoint, all from a seed."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from edge_runtime.bundle_spec import CameraSpec, FlowSpec, Normalisation, PolicySpec, PromptSpec, VectorSpec
from export.lerobot_save import save_lerobot
from export.models.decoder import DecoderConfig
from export.models.pi0 import Pi0, Pi0Config
from export.models.vit import VitConfig

MARKS = ("<pad>", "<eos>", "<bos>", "<unk>")
LETTERS = ("▁", "\n", "\t", *"abcdefghijklmnopqrstuvwxyz")
MERGES = (("r", "e"), ("re", "d"), ("p", "i"), ("pi", "c"), ("u", "p"))
VOCAB = len(MARKS) + len(LETTERS) + len(MERGES)

CONFIG = Pi0Config(
    vision=VitConfig(hidden=24, layers=2, heads=2, mlp=32, patch=6, image=18),
    language=DecoderConfig(width=16, depth=2, mlp_dim=24, num_heads=4, num_kv_heads=2, head_dim=8),
    expert=DecoderConfig(width=12, depth=2, mlp_dim=20, num_heads=4, num_kv_heads=2, head_dim=8),
    vocab=VOCAB + 5,
    horizon=5,
    state_padded=8,
    action_padded=9,
)
"""Unlike the golden sets in every size, with two K/V heads, padded widths that differ and more rows than tokens."""


def tokenizer(path: Path) -> Path:
    """Write a byte-pair tokenizer with PaliGemma's conventions."""
    words = [*MARKS, *LETTERS, *("".join(pair) for pair in MERGES)]
    bpe = models.BPE({w: i for i, w in enumerate(words)}, list(MERGES), unk_token="<unk>")
    made = Tokenizer(bpe)
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Replace("▁", " ")
    made.add_special_tokens([AddedToken(mark, normalized=False) for mark in MARKS])
    made.save(str(path))
    return path


def model(config: Pi0Config = CONFIG, seed: int = 0) -> Pi0:
    """Random weights, none of them left at zero or one."""
    torch.manual_seed(seed)
    made = Pi0(config)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made.eval()


def spec(fps: float = 20.0) -> PolicySpec:
    """What stands beside the weights: two cameras, neither of them square, and three dimensions of state and action."""
    rad = ("rad", "rad", "rad")
    return PolicySpec(
        cameras=(CameraSpec("base", 20, 30), CameraSpec("wrist", 33, 21)),
        state=VectorSpec(("state.0", "state.1", "state.2"), rad, CONFIG.state_padded),
        action=VectorSpec(("dx", "dy", "grip"), rad, CONFIG.action_padded),
        horizon=CONFIG.horizon,
        dt_s=1.0 / fps,
        control_mode="absolute",
        head=FlowSpec(4, 1.0, 0.0, ("keys", "values", "prefix_mask")),
        prompt=PromptSpec("{instruction}\n", 12, 2, 0, clean=("strip",), vocab=CONFIG.vocab),
        state_normalisation=Normalisation("mean_std", (0.5, -1.0, 2.0), (2.0, 0.25, 1.0), eps_in=1e-8),
        action_normalisation=Normalisation("mean_std", (0.125, 0.25, -0.375), (1.5, 0.5, 3.0), eps_in=1e-8),
    )


def saved(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Write the checkpoint directory `folder`/checkpoint, and its tokenizer beside it too."""
    return save_lerobot(model(), spec(), tokenizer(folder / "tokenizer.json"), folder / "checkpoint", dtype)
