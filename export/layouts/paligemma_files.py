"""The files of a PaliGemma as transformers writes them: config.json, the processor's, single or sharded weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import msgspec

from export.errors import CheckpointError
from export.image import Preprocess
from export.json_file import read_json
from export.models.decoder import DecoderConfig
from export.models.vit import VitConfig
from export.resize import Filter
from export.stored import Stored, open_safetensors, open_sharded

CONFIG, INDEX, WEIGHTS = "config.json", "model.safetensors.index.json", "model.safetensors"
PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
"""The image processor's file, and the one that has it inside since transformers 5."""
GELU: dict[str, Literal["gelu_tanh", "gelu"]] = {"gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
FILTERS: dict[int, Filter] = {1: "pil-lanczos", 2: "pil-bilinear", 3: "pil-bicubic"}
"""Pillow's numbers."""
EPS = 1e-6
"""Of SigLIP's norms, in every published model."""


class VisionConfig(msgspec.Struct):
    """The SigLIP; what is not told is as transformers' SiglipVisionConfig has it."""

    model_type: str = "siglip_vision_model"
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 16
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = EPS


class TextConfig(msgspec.Struct):
    """The Gemma; what is not told is as transformers' GemmaConfig has it. `rope_theta` was the name before 5."""

    model_type: str = "gemma"
    vocab_size: int = 256000
    hidden_size: int = 3072
    intermediate_size: int = 24576
    num_hidden_layers: int = 28
    num_attention_heads: int = 16
    num_key_value_heads: int = 16
    head_dim: int = 256
    hidden_act: str = "gelu_pytorch_tanh"
    hidden_activation: str | None = None
    rms_norm_eps: float = 1e-6
    attention_bias: bool = False
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None


class Config(msgspec.Struct):
    """The fields of config.json that shape the computation."""

    vision_config: VisionConfig
    text_config: TextConfig
    projection_dim: int = 2048
    image_token_index: int = 256000

    @property
    def rows(self) -> int:
        """How many tokens a tokenizer may have: <image> stands for no row, so its number may be one past the table."""
        return max(self.text_config.vocab_size, self.image_token_index + 1)


class _ImageProcessor(msgspec.Struct):
    """The image processor; what is not told is as PaliGemma's was published."""

    size: dict[str, int] | None = None
    resample: int = 3
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    rescale_factor: float = 1 / 255
    do_resize: bool = True
    do_rescale: bool = True
    do_normalize: bool = True


class _Processor(msgspec.Struct):
    image_processor: _ImageProcessor | None = None


def vision(path: Path, config: Config) -> VitConfig:
    """The vision tower that `config`, read from `path`, tells; `ValueError` for impossible sizes."""
    c = config.vision_config
    plain = (c.model_type, c.num_channels, c.layer_norm_eps) == ("siglip_vision_model", 3, EPS)
    if not plain or c.hidden_act not in GELU:
        raise CheckpointError(
            f"{path}: vision_config is no plain SigLIP (see model_type, num_channels, layer_norm_eps and hidden_act)"
        )
    return VitConfig(
        hidden=c.hidden_size,
        layers=c.num_hidden_layers,
        heads=c.num_attention_heads,
        mlp=c.intermediate_size,
        patch=c.patch_size,
        image=c.image_size,
        activation=GELU[c.hidden_act],
    )


def language(path: Path, config: Config) -> DecoderConfig:
    """The decoder that `config`, read from `path`, tells; `ValueError` for impossible sizes."""
    c = config.text_config
    rope = c.rope_parameters or {}
    if c.model_type != "gemma":
        raise CheckpointError(f"{path}: text_config is a {c.model_type}; of PaliGemma, the first (gemma) is exported")
    if GELU.get(c.hidden_activation or c.hidden_act) != "gelu_tanh" or c.attention_bias:
        raise CheckpointError(f"{path}: text_config is no plain Gemma (see hidden_act and attention_bias)")
    if c.rope_scaling is not None or rope.get("rope_type", "default") != "default":
        raise CheckpointError(f"{path}: text_config scales its positions (rope), which is not exported")
    if config.projection_dim != c.hidden_size:
        raise CheckpointError(f"{path}: projection_dim is {config.projection_dim}, text_config's width {c.hidden_size}")
    return DecoderConfig(
        width=c.hidden_size,
        depth=c.num_hidden_layers,
        mlp_dim=c.intermediate_size,
        num_heads=c.num_attention_heads,
        num_kv_heads=c.num_key_value_heads,
        head_dim=c.head_dim,
        norm_eps=c.rms_norm_eps,
        rope_base=float(rope.get("rope_theta", c.rope_theta)),
    )


def preprocess(directory: Path, size: int) -> Preprocess:
    """The image processor's: the whole frame stretched to a square of `size` pixels, whatever its aspect."""
    path, found = directory / PREPROCESSOR, None
    if path.is_file():
        found = read_json(path, _ImageProcessor)
    elif (directory / PROCESSOR).is_file():
        path = directory / PROCESSOR
        found = read_json(path, _Processor).image_processor
    config = found or _ImageProcessor()
    if config.size not in (None, {"height": size, "width": size}):
        raise CheckpointError(f"{path}: size is {config.size}, the vision tower takes {size} pixels square")
    if config.resample not in FILTERS:
        known = ", ".join(f"{number} ({name})" for number, name in FILTERS.items())
        raise CheckpointError(f"{path}: resample {config.resample} is not exported; what is: {known}")
    done = config.do_resize and config.do_rescale and config.do_normalize
    if not done or not math.isclose(config.rescale_factor, 1 / 255, rel_tol=1e-6):
        raise CheckpointError(f"{path}: frames must be resized, rescaled (by 1/255) and normalised")
    try:
        return Preprocess(size, FILTERS[config.resample], "stretch", mean=(config.image_mean,), std=(config.image_std,))
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def open_weights(directory: Path) -> Stored:
    """The weights, in one file or in those that an index names."""
    index, single = directory / INDEX, directory / WEIGHTS
    if index.is_file():
        return open_sharded(index)
    if not single.is_file() and (directory / "adapter_config.json").is_file():
        raise CheckpointError(f"{single}: no such file; there are adapters alone: merge them into the model first")
    return open_safetensors(single)
