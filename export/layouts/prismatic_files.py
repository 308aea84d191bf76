"""The files of an OpenVLA checkpoint that say what it computes: config.json, preprocessor_config.json, the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from export.errors import CheckpointError
from export.image import Preprocess, Rows
from export.json_file import read_json
from export.layouts.given import Given
from export.layouts.options import Options
from export.models.decoder import DecoderConfig
from export.models.prismatic import DINOV2, FEATURIZERS, SIGLIP, PrismaticConfig, stored_layers
from export.models.vit import VitConfig
from export.resize import Filter
from export.stored import Stored, open_safetensors, open_sharded

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"
TIMM = ("vit_large_patch14_reg4_dinov2", "vit_so400m_patch14_siglip")
"""How timm's names of both towers begin; an image size and a dataset may follow."""
MLP_RATIO = (4.0, 3.7362)
"""Of both towers: hidden times this, rounded down."""
FILTERS: dict[str, Filter] = {"bicubic": "pil-bicubic", "bilinear": "pil-bilinear", "lanczos": "pil-lanczos"}
CROP = 0.9
"""Share of the area that an evaluation keeps of a model trained with random crops (`center_crop` in the references)."""
EMPTY = 29871
"""Llama's token of a lone "▁". `predict_action` puts it behind every prompt that does not end in it."""


Positive = Annotated[int, msgspec.Meta(ge=1)]


class TextConfig(msgspec.Struct):
    """The Llama; what is not told is as transformers' LlamaConfig has it."""

    model_type: str
    vocab_size: Positive = 32000
    hidden_size: Positive = 4096
    intermediate_size: Positive = 11008
    num_hidden_layers: Positive = 32
    num_attention_heads: Positive = 32
    num_key_value_heads: Positive | None = None
    hidden_act: str = "silu"
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None


class Config(msgspec.Struct):
    """The fields of config.json that shape the computation."""

    image_sizes: tuple[int, ...]
    timm_model_ids: tuple[str, ...]
    text_config: TextConfig
    timm_override_act_layers: tuple[str | None, ...] = ()
    use_fused_vision_backbone: bool = True
    n_action_bins: Positive = 256
    pad_token_id: int = 32000
    pad_to_multiple_of: int = 64
    norm_stats: dict[str, msgspec.Raw] | None = None


class _Row(msgspec.Struct):
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class _Preprocessor(msgspec.Struct):
    """preprocessor_config.json. `tvf_normalize_params`, where it is, is what the reference computes with."""

    image_resize_strategy: str
    interpolations: tuple[str, ...]
    means: Rows
    stds: Rows
    tvf_normalize_params: tuple[_Row, ...] = ()


class Tower(msgspec.Struct):
    embed_dim: Positive
    depth: Positive
    num_heads: Positive


class Dims(msgspec.Struct):
    """dims.json: what no file of the checkpoint records. Every key is optional; others are left alone.

    `robot` says whose data it was, where the name of the statistics does not. `chunk` ... `images` are of OpenVLA-OFT;
    `images` has (height, width) of each, in the model's order.
    """

    vit: tuple[Tower, Tower] | None = None
    empty_token: int = EMPTY
    fps: float | None = None
    units: str = ""
    robot: str | None = None
    chunk: int | None = None
    action_dim: int | None = None
    proprio_dim: int | None = None
    images: tuple[tuple[int, int], ...] | None = None


def read_dims(directory: Path, options: Options) -> Dims:
    """The given dims file, else the directory's own, else what is usual."""
    path = Given(directory, options).dims
    return read_json(path, Dims) if path else Dims()


def architecture(path: Path, config: Config, dims: Dims) -> PrismaticConfig:
    """The sizes that `config`, read from `path`, names; `CheckpointError` for a kind that is not exported."""
    ids = tuple(name.partition(".")[0] for name in config.timm_model_ids)
    if not config.use_fused_vision_backbone or len(ids) != 2 or not all(map(str.startswith, ids, TIMM)):
        raise CheckpointError(
            f"{path}: vision towers {', '.join(ids)} are not exported; DINOv2 with SigLIP ({', '.join(TIMM)}) is"
        )
    if any(config.timm_override_act_layers):
        raise CheckpointError(f"{path}: timm_override_act_layers is set; towers are exported as timm has them")
    if len(config.image_sizes) != 2 or config.image_sizes[0] != config.image_sizes[1]:
        raise CheckpointError(f"{path}: image_sizes is {list(config.image_sizes)}, expected the same number twice")
    try:
        dino, siglip = (replace(tower, image=config.image_sizes[0]) for tower in (DINOV2, SIGLIP))
        if dims.vit is not None:
            dino, siglip = (_tower(*given) for given in zip((dino, siglip), dims.vit, MLP_RATIO, strict=True))
        return PrismaticConfig(dino, siglip, _language(path, config.text_config), config.text_config.vocab_size)
    except ValueError as error:
        raise CheckpointError(f"{path}: with these sizes {error}") from error


def _tower(published: VitConfig, given: Tower, ratio: float) -> VitConfig:
    """The last block of a tower is never run."""
    mlp = int(given.embed_dim * ratio)
    return replace(published, hidden=given.embed_dim, layers=given.depth - 1, heads=given.num_heads, mlp=mlp)


def _language(path: Path, text: TextConfig) -> DecoderConfig:
    if text.model_type != "llama" or text.hidden_act != "silu" or text.rope_scaling is not None:
        raise CheckpointError(f"{path}: text_config is no plain Llama (see model_type, hidden_act and rope_scaling)")
    return DecoderConfig(
        width=text.hidden_size,
        depth=text.num_hidden_layers,
        mlp_dim=text.intermediate_size,
        num_heads=text.num_attention_heads,
        num_kv_heads=text.num_key_value_heads or text.num_attention_heads,
        head_dim=text.hidden_size // text.num_attention_heads,
        activation="silu",
        norm_offset=0.0,
        norm_eps=text.rms_norm_eps,
        embed_scale=False,
        rope_base=text.rope_theta,
    )


def preprocess(directory: Path, sizes: PrismaticConfig, crop: bool) -> Preprocess:
    """Both towers get the same square of pixels, whatever the frame's aspect.

    `crop`: as a fine-tune with augmentation is evaluated, whose frames are resized with lanczos, then cropped.
    """
    path = directory / PREPROCESSOR
    config = read_json(path, _Preprocessor)
    kinds = set(config.interpolations)
    if config.image_resize_strategy != "resize-naive" or len(kinds) != 1 or not kinds <= set(FILTERS):
        raise CheckpointError(
            f"{path}: image_resize_strategy {config.image_resize_strategy!r} with {', '.join(config.interpolations)}; "
            f"what is exported is resize-naive with one of {', '.join(FILTERS)}"
        )
    rows = config.tvf_normalize_params or tuple(map(_Row, config.means, config.stds))
    if len(rows) != 2:
        raise CheckpointError(f"{path}: normalises for {len(rows)} vision towers, the model has 2")
    filter: Filter = "tf-lanczos" if crop else FILTERS[kinds.pop()]
    mean, std = tuple(row.mean for row in rows), tuple(row.std for row in rows)
    try:
        return Preprocess(sizes.dino.image, filter, "stretch", CROP if crop else 1.0, mean, std)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def open_weights(directory: Path, sizes: PrismaticConfig) -> Stored:
    """The weights, if their towers have the one block more than the sizes that is never run."""
    index = directory / INDEX
    if not index.is_file() and not (directory / WEIGHTS).is_file():
        merge = "; it has adapters alone: merge them first" if (directory / "lora_adapter").is_dir() else ""
        raise CheckpointError(f"{index}: no such file; a checkpoint needs it{merge}")
    stored = open_sharded(index) if index.is_file() else open_safetensors(directory / WEIGHTS)
    for tower, config in zip(FEATURIZERS, (sizes.dino, sizes.siglip), strict=True):
        found = stored_layers(tower, stored.names)
        if found != config.layers + 1:
            raise CheckpointError(
                f"{stored}: vision_backbone.{tower} has {found} blocks, the sizes say {config.layers + 1}; give the "
                "right sizes with --dims"
            )
    return stored
