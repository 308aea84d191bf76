"""A PaliGemma of a few thousand numbers, taught nothing or one sentence, as transformers saves it, all from a seed."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from torch import Tensor

from export.models.decoder import DecoderConfig
from export.models.rt2 import HEADS, Rt2Config, published_name
from export.models.vit import VitConfig

MARKS = ("<pad>", "<eos>", "<bos>", "<unk>")
LETTERS = ("▁", "\n", "?", ":", *"abcdefghijklmnopqrstuvwxyz")
MERGES = (("▁", "1"), ("2", "5"), ("u", "p"))
BINS = 256
RARE = tuple(f"<loc{i:04}>" for i in range(BINS))
WORDS = (*MARKS, *LETTERS, *"0123456789", *("".join(pair) for pair in MERGES), *RARE)
ID = {word: i for i, word in enumerate(WORDS)}
VOCAB = len(WORDS)
IMAGE = VOCAB
"""<image>: one past the table, as in published models. "25" and " 1" are one token each, unlike Gemma's."""
RARE_IDS = tuple(ID[word] for word in RARE)
INTEGER_IDS = tuple(sorted(ID[word] for word in ("<eos>", "▁", *"0123456789", "▁1", "25")))

VISION = VitConfig(hidden=24, layers=2, heads=2, mlp=32, patch=6, image=18)
LANGUAGE = DecoderConfig(width=16, depth=2, mlp_dim=24, num_heads=4, num_kv_heads=2, head_dim=8)
HF_CONFIG: dict[str, Any] = {
    "model_type": "paligemma",
    "image_token_index": IMAGE,
    "projection_dim": LANGUAGE.width,
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": VISION.hidden,
        "num_hidden_layers": VISION.layers,
        "num_attention_heads": VISION.heads,
        "intermediate_size": VISION.mlp,
        "patch_size": VISION.patch,
        "image_size": VISION.image,
        "vision_use_head": False,
    },
    "text_config": {
        "model_type": "gemma",
        "hidden_size": LANGUAGE.width,
        "num_hidden_layers": LANGUAGE.depth,
        "intermediate_size": LANGUAGE.mlp_dim,
        "num_attention_heads": LANGUAGE.num_heads,
        "num_key_value_heads": LANGUAGE.num_kv_heads,
        "head_dim": LANGUAGE.head_dim,
        "vocab_size": VOCAB,
        "pad_token_id": 0,
    },
}
INTEGERS: dict[str, Any] = {"scheme": "integers", "token_ids": None}
ACTIONS = {
    "scheme": "tokens",
    "token_ids": RARE_IDS,
    "low": [-0.5, 1.0],
    "high": [1.5, 3.0],
    "terminate": True,
    "control_mode": "delta",
    "names": ["dx", "grip"],
    "cameras": {"front": [20, 30]},
}


def config(token_ids: tuple[int, ...] = INTEGER_IDS) -> Rt2Config:
    return Rt2Config(VISION, LANGUAGE, token_ids, vocab=VOCAB)


def tokenizer(path: Path) -> Path:
    """Write a byte-pair tokenizer with PaliGemma's conventions. It cuts and pads, which nobody must obey."""
    made = Tokenizer(models.BPE(ID, list(MERGES), unk_token="<unk>"))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Replace("▁", " ")
    made.add_special_tokens([AddedToken(mark, normalized=False) for mark in (*MARKS, *RARE, "<image>")])
    made.enable_truncation(4)
    made.enable_padding(length=20)
    made.save(str(path))
    assert made.token_to_id("<image>") == IMAGE
    return path


def transformers() -> Any:
    """The library; skips where it is not installed."""
    if "torchvision" not in sys.modules:  # a torchvision of another build breaks the import; nothing here uses it
        sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
    return pytest.importorskip("transformers", reason="transformers is not installed")


def reference(tied: bool = True, seed: int = 0) -> Any:
    """transformers' model with random weights, none of them left at zero or one."""
    library = transformers()
    torch.manual_seed(seed)
    made = library.PaliGemmaForConditionalGeneration(
        library.PaliGemmaConfig(**json.loads(json.dumps(HF_CONFIG)), tie_word_embeddings=tied)
    )
    with torch.no_grad():
        for name, parameter in made.named_parameters():  # strong layers: else every token is followed by itself
            parameter.add_(torch.randn_like(parameter) * (0.6 if "language_model.layers" in name else 0.2))
    return made.eval()


def weights(tied: bool = True, seed: int = 0) -> dict[str, Tensor]:
    """Random weights by the names that transformers 4.52 and later give them."""
    from export.models.rt2 import Rt2

    torch.manual_seed(seed)
    made = {
        published_name(name, frozenset()): torch.randn_like(parameter) * 0.2
        for name, parameter in Rt2(config()).named_parameters()
        if name != "head.weight"
    }
    return made if tied else {**made, HEADS[0]: torch.randn(VOCAB, LANGUAGE.width)}


def speaking(words: tuple[str, ...]) -> dict[str, Tensor]:
    """Weights of a model that says `words` after a newline: each token decides the next one, whatever else it sees."""
    made = weights()
    for name in made:
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            made[name] *= 0.05
    table = made[published_name("language.embed_tokens.weight", frozenset())]
    head = torch.zeros_like(table)
    norm = made[published_name("language.norm.weight", frozenset())].zero_()
    assert not norm.any()
    for last, following in zip(("\n", *words), words, strict=False):
        head[ID[following]] = table[ID[last]] / table[ID[last]].norm()
    return {**made, HEADS[0]: head}


def write(
    folder: Path, tensors: Mapping[str, Tensor] | None = None, hf: Mapping[str, Any] | None = None, **actions: Any
) -> Path:
    """A checkpoint directory; `hf` changes config.json, `actions` action_config.json (None: leaves a key out)."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(weights() if tensors is None else tensors), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**HF_CONFIG, **(hf or {})}))
    told = {key: value for key, value in {**ACTIONS, **actions}.items() if value is not None}
    (folder / "action_config.json").write_text(json.dumps(told))
    tokenizer(folder / "tokenizer.json")
    return folder
