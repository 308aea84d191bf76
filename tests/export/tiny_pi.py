"""A pi0, a pi0.5 and a pi0-FAST of a few thousand numbers, as openpi and lerobot publish them, all from a seed."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from torch import Tensor, nn

from export.family import family
from export.models.pi0 import EXPERT_HEAD, HEAD, TABLE, Pi0Config, published_name
from export.models.pi0_fast import Pi0FastConfig
from tests.export import tiny, tiny_lerobot

MARKS = ("<pad>", "<eos>", "<bos>", "<unk>")
LETTERS = ("▁", "\n", ":", ",", ";", "-", "|", *"ATS", *"abcdefghijklmnopqrstuvwxyz", *"0123456789")
MERGES = (("A", "c"), ("t", "i"), ("o", "n"), ("u", "p"))
WORDS = (*MARKS, *LETTERS, *("".join(pair) for pair in MERGES))
ID = {word: i for i, word in enumerate(WORDS)}
COEFFICIENTS = tuple(chr(33 + i) for i in range(24))
"""The FAST tokens: characters that stand for -12 to 11."""
MIN_TOKEN, SCALE, SKIP = -45, 4.0, 3
VOCAB = len(WORDS) + len(COEFFICIENTS) + SKIP
TOP = VOCAB - 1 - SKIP
"""The model's token of FAST token 0."""
ANSWER = ("Ac", "ti", "on", ":", "▁")
"""How the tokenizer spells "Action: "."""
TOKEN_IDS = tuple(sorted([ID[word] for word in (*ANSWER, "|")] + [TOP - i for i in range(len(COEFFICIENTS))]))
PADDED, HORIZON, TEXT = 9, 5, 96
VISION, LANGUAGE, EXPERT = tiny.CONFIG.vision, tiny.CONFIG.language, tiny.CONFIG.expert
PI0 = Pi0Config(VISION, LANGUAGE, EXPERT, VOCAB, HORIZON, PADDED, PADDED)
PI05 = replace(PI0, expert=replace(EXPERT, adaptive=True))
LEROBOT_FAST = Pi0FastConfig(VISION, LANGUAGE, TOKEN_IDS, VOCAB, bos=ID["<bos>"])
OPENPI_FAST = replace(LEROBOT_FAST, bos=None, decode_offset=1)
DIMS: dict[str, Any] = {
    "vlm": asdict(LANGUAGE),
    "expert": asdict(EXPERT),
    "vision": asdict(VISION),
    "vocab": VOCAB,
    "skip": SKIP,
    "fps": 20.0,
    "units": "rad",
    "max_decode": 12,
}
STATE = tiny_lerobot.STATISTICS["observation.state"]
ACTIONS = tiny_lerobot.STATISTICS["action"]
ASSET = "tiny/robot"


def tokenizer(path: Path) -> Path:
    """Write a byte-pair tokenizer with PaliGemma's conventions, digits and capitals of the prompts included."""
    made = Tokenizer(models.BPE(ID, list(MERGES), unk_token="<unk>"))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Replace("▁", " ")
    made.add_special_tokens([AddedToken(mark, normalized=False) for mark in MARKS])
    made.save(str(path))
    return path


def fast_tokenizer(folder: Path, words: tuple[str, ...] = COEFFICIENTS) -> Path:
    """Write the directory of a FAST tokenizer without its code."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    made.decoder = decoders.ByteLevel()
    made.save(str(folder / "tokenizer.json"))
    told = {"min_token": MIN_TOKEN, "scale": SCALE, "vocab_size": len(words), "time_horizon": None}
    (folder / "processor_config.json").write_text(json.dumps(told))
    return folder


def model(kind: str, config: Pi0Config | Pi0FastConfig, seed: int = 0) -> nn.Module:
    """Random weights, none of them left at zero or one."""
    torch.manual_seed(seed)
    made = family(kind).build(config)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made.eval().requires_grad_(False)


def published(made: nn.Module) -> dict[str, Tensor]:
    """The weights under their published names, with both heads that every release stores."""
    weights = {published_name(name): x for name, x in made.state_dict().items() if name != "head.weight"}
    torch.manual_seed(1)
    return {**weights, HEAD: torch.randn(VOCAB, LANGUAGE.width), EXPERT_HEAD: torch.zeros(VOCAB, EXPERT.width)}


def openpi(folder: Path, kind: str = "pi0", **dims: Any) -> Path:
    """A checkpoint of the openpi layout with dims.json and tokenizer.json beside it. Of the table only the head is
    stored. `dims` changes dims.json."""
    folder.mkdir(parents=True)
    weights = published(model(kind, {"pi0": PI0, "pi05": PI05, "pi0_fast": OPENPI_FAST}[kind]))
    weights[HEAD] = weights.pop(TABLE)
    save_file(weights, folder / "model.safetensors")
    config = {
        "action_dim": PADDED,
        "action_horizon": HORIZON,
        "paligemma_variant": "gemma_2b",
        "action_expert_variant": "gemma_300m",
        "precision": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "dims.json").write_text(json.dumps({**DIMS, **dims}))
    asset(folder, ASSET)
    tokenizer(folder / "tokenizer.json")
    return folder


def asset(folder: Path, name: str) -> Path:
    """Write assets/<name>/norm_stats.json."""
    path = folder / "assets" / name / "norm_stats.json"
    path.parent.mkdir(parents=True)
    kept = ("mean", "std", "q01", "q99")
    statistics = {key: {n: all[n] for n in kept} for key, all in (("state", STATE), ("actions", ACTIONS))}
    path.write_text(json.dumps({"norm_stats": statistics}))
    return path


def lerobot(folder: Path, kind: str = "pi05", norm: str = "QUANTILES", said: tuple[str, ...] = ()) -> Path:
    """A checkpoint of the lerobot layout (release 0.6) with dims.json and tokenizer.json beside it.

    `said`: what a pi0-FAST answers, word by word, whatever it sees (`speaking`).
    """
    made = model(kind, {"pi0": PI0, "pi05": PI05, "pi0_fast": LEROBOT_FAST}[kind])
    config = {
        "paligemma_variant": "gemma_2b",
        "action_expert_variant": "gemma_300m",
        "chunk_size": HORIZON,
        "n_action_steps": HORIZON,
        "max_state_dim": PADDED,
        "max_action_dim": PADDED,
        "num_inference_steps": 4,
        "max_decoding_steps": 24,
        "fast_skip_tokens": SKIP,
        "temperature": 0.0,
        "image_resolution": [VISION.image, VISION.image],
        "tokenizer_max_length": TEXT,
        "min_period": 4e-3,
        "max_period": 4.0,
    }
    tiny_lerobot.settings(folder, kind, config, norm)
    weights = published(made)
    if said:
        speaking(weights, said)
    save_file({f"model.{name}": tensor for name, tensor in weights.items()}, folder / "model.safetensors")
    (folder / "dims.json").write_text(json.dumps(DIMS))
    tokenizer(folder / "tokenizer.json")
    return folder


def speaking(weights: dict[str, Tensor], words: tuple[str, ...]) -> None:
    """Make a pi0-FAST say `words`, all of them different, after BOS: each token decides the next one."""
    for name, tensor in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")) and "language_model" in name:
            tensor.mul_(0.02)
    weights["paligemma_with_expert.paligemma.model.language_model.norm.weight"].zero_()
    table, head = weights[TABLE], weights[HEAD].zero_()
    for last, following in zip(("<bos>", *words), words, strict=False):
        head[_id(following)] = table[_id(last)] / table[_id(last)].norm()


def _id(word: str) -> int:
    """Of a word of the text tokenizer, or of "fast<i>"."""
    return ID[word] if word in ID else TOP - int(word.removeprefix("fast"))
