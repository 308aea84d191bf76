"""An OpenVLA and an OpenVLA-OFT of a few thousand numbers, and their checkpoints as published, all from a seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, models, normalizers
from torch import Tensor, nn

from export.checkpoint import Checkpoint
from export.family import family
from export.models.decoder import DecoderConfig
from export.models.openvla import HEAD, OpenVla, OpenVlaConfig
from export.models.openvla_oft import OpenVlaOft, OpenVlaOftConfig
from export.models.prismatic import DINOV2, FEATURIZERS, SIGLIP
from export.models.vit import VitConfig
from export.weights import bind, fill

Module = TypeVar("Module", bound=nn.Module)

MARKS = ("<unk>", "<s>", "</s>")
WORDS = (*MARKS, "▁", "\n", ".", ":", "?", "I", "W", "O", *"abcdefghijklmnopqrstuvwxyz")
EMPTY = WORDS.index("▁")
PADDING, BINS = 8, 32
PAD = VOCAB = len(WORDS) + BINS
DINO = replace(DINOV2, hidden=24, layers=2, heads=2, mlp=96, image=28)
SIGLIP_TINY = replace(SIGLIP, hidden=20, layers=1, heads=2, mlp=74, image=28)
LANGUAGE = DecoderConfig(
    width=32,
    depth=2,
    mlp_dim=48,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    activation="silu",
    norm_offset=0.0,
    embed_scale=False,
)
CONFIG = OpenVlaConfig(DINO, SIGLIP_TINY, LANGUAGE, VOCAB + PADDING, padding=PADDING, bins=BINS)
OFT = OpenVlaOftConfig(DINO, SIGLIP_TINY, LANGUAGE, VOCAB + PADDING, horizon=3, action_dims=2, state_dims=5)
"""Unlike the golden sets in every size; two K/V heads for four, towers of different depth."""
DIMS = {
    "vit": [
        {"embed_dim": 24, "depth": 3, "num_heads": 2},
        {"embed_dim": 20, "depth": 2, "num_heads": 2},
    ],
    "empty_token": EMPTY,
    "chunk": 3,
}


def tokenizer(path: Path) -> Path:
    """Write a tokenizer of single characters with Llama's conventions."""
    made = Tokenizer(models.BPE({word: i for i, word in enumerate(WORDS)}, [], unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.add_special_tokens([AddedToken(mark, normalized=False) for mark in MARKS])
    made.save(str(path))
    return path


def openvla(config: OpenVlaConfig = CONFIG) -> OpenVla:
    return _random(OpenVla(config))


def oft(config: OpenVlaOftConfig = OFT) -> OpenVlaOft:
    return _random(OpenVlaOft(config))


def _random(module: Module) -> Module:
    """Random weights, none of them left at zero or one."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return module.eval().requires_grad_(False)


def observed(cameras: int, tokens: int, seed: int = 1) -> dict[str, Tensor]:
    """Pixels and a prompt without padding, BOS first."""
    g = torch.Generator().manual_seed(seed)
    prompt = torch.randint(3, len(WORDS), (1, tokens), generator=g)
    prompt[0, 0] = 1
    return {
        "pixels": torch.randn(1, cameras, 6, DINO.image, DINO.image, generator=g),
        "tokens": prompt,
        "token_mask": torch.ones(1, tokens, dtype=torch.bool),
    }


def padded(given: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """The same prompt with `count` tokens of padding behind it."""
    filler = torch.full((1, count), PAD)
    return {
        "pixels": given["pixels"],
        "tokens": torch.cat([given["tokens"], filler], dim=1),
        "token_mask": torch.cat([given["token_mask"], filler < 0], dim=1),
    }


def load(checkpoint: Checkpoint) -> nn.Module:
    """The model with the checkpoint's weights, every name and shape checked."""
    made, config = family(checkpoint.family), checkpoint.config
    with torch.device("meta"):
        module = made.build(config)
    weights = bind(module, checkpoint.stored, lambda name, stored: made.source(name, stored, config), made.unused)
    return fill(module, weights).eval().requires_grad_(False)


def published(model: OpenVla | OpenVlaOft) -> dict[str, Tensor]:
    """The weights under their published names, with what a checkpoint stores and nobody reads."""
    config = model.config
    stored = _unread(config.dino, FEATURIZERS[0], pool=False) | _unread(config.siglip, FEATURIZERS[1], pool=True)
    made, parts = family("openvla" if isinstance(model, OpenVla) else "openvla_oft"), dict[str, dict[int, Tensor]]()
    for name, tensor in model.state_dict().items():
        place = made.source(name, frozenset(), config)
        first = place.rows.start if isinstance(place.rows, slice) else 0
        parts.setdefault(place.name, {})[first] = tensor
    stored |= {name: torch.cat([pieces[i] for i in sorted(pieces)]) for name, pieces in parts.items()}
    for tower in FEATURIZERS:
        stored[f"vision_backbone.{tower}.pos_embed"] = stored[f"vision_backbone.{tower}.pos_embed"][None]
    head = torch.randn(config.vocab, config.language.width)
    if isinstance(config, OpenVlaConfig):
        head[config.tokens.start : config.tokens.stop] = stored[HEAD]
    return stored | {HEAD: head}


def _unread(tower: VitConfig, name: str, pool: bool) -> dict[str, Tensor]:
    """Shapes of what is not read do not matter; of its names each kind is here once."""
    last = f"blocks.{tower.layers}."
    names = [f"{last}{layer}.weight" for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")]
    names += ["norm.weight", "norm.bias"] + [f"{last}ls{i}.scale_factor" for i in (1, 2) if tower.layer_scale]
    names += ["attn_pool.latent", "attn_pool.q.weight", "attn_pool.mlp.fc1.bias"] if pool else []
    return {f"vision_backbone.{name}.{leaf}": torch.zeros(1) for leaf in names}


def saved(folder: Path, model: OpenVla | OpenVlaOft, dtype: torch.dtype = torch.float32, ddp: bool = True) -> Path:
    """Write the checkpoint directory `folder`: two shards, head files of step 20 and, for OFT, an older head."""
    folder.mkdir(parents=True)
    tensors = {name: tensor.to(dtype) for name, tensor in published(model).items()}
    if isinstance(model, OpenVlaOft):
        prefix = "module." if ddp else ""
        head = {name: tensors.pop(name) for name in tuple(tensors) if name.startswith("model.")}
        state = {name: tensors.pop(name) for name in tuple(tensors) if name.startswith(("fc1.", "fc2."))}
        for step, weights in (("5", {"old": torch.zeros(1)}), ("20", head)):
            torch.save({prefix + n: t for n, t in weights.items()}, folder / f"action_head--{step}_checkpoint.pt")
        if state:
            torch.save({prefix + n: t for n, t in state.items()}, folder / "proprio_projector--20_checkpoint.pt")
    _save_shards(folder, tensors)
    _write(folder / "config.json", _config(model))
    _write(folder / "preprocessor_config.json", PREPROCESSOR)
    _write(folder / "dataset_statistics.json", {"tiny": _statistics(model)})
    _write(folder / "dims.json", DIMS)
    tokenizer(folder / "tokenizer.json")
    return folder


def _save_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    names = sorted(tensors)
    index = {}
    for i, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), start=1):
        file = f"model-0000{i}-of-00002.safetensors"
        save_file({name: tensors[name].contiguous() for name in part}, folder / file)
        index.update(dict.fromkeys(part, file))
    _write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})


PREPROCESSOR = {
    "image_resize_strategy": "resize-naive",
    "interpolations": ["bicubic", "bicubic"],
    "means": [[0.1, 0.2, 0.3], [0.5, 0.5, 0.5]],
    "stds": [[0.5, 0.25, 0.125], [0.5, 0.5, 0.5]],
}


def _config(model: OpenVla | OpenVlaOft) -> dict[str, Any]:
    return {
        "model_type": "openvla",
        "timm_model_ids": ["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"],
        "image_sizes": [28, 28],
        "n_action_bins": BINS,
        "pad_token_id": PAD,
        "pad_to_multiple_of": PADDING,
        "norm_stats": {"base": _statistics(model)},
        "text_config": {
            "model_type": "llama",
            "vocab_size": VOCAB + PADDING,
            "hidden_size": LANGUAGE.width,
            "intermediate_size": LANGUAGE.mlp_dim,
            "num_hidden_layers": LANGUAGE.depth,
            "num_attention_heads": LANGUAGE.num_heads,
            "num_key_value_heads": LANGUAGE.num_kv_heads,
        },
    }


def _statistics(model: OpenVla | OpenVlaOft) -> dict[str, Any]:
    action, state = (7, 0) if isinstance(model, OpenVla) else (model.config.action_dims, model.config.state_dims)
    mask = {"mask": [True] * (action - 1) + [False]}
    return {"action": _limits(action) | mask, "num_transitions": 3} | ({"proprio": _limits(state)} if state else {})


def _limits(dims: int) -> dict[str, Any]:
    return {"q01": [-1] * dims, "q99": [0.5 + i for i in range(dims)], "min": [-2.0] * dims, "max": [4.0] * dims}


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))
