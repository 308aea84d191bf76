"""What every layout of the pi family shares: named variants or a dims.json for sizes, and PaliGemma's prompt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edge_runtime.bundle_spec import PromptSpec
from export.errors import CheckpointError
from export.json_file import read_json
from export.layouts.text import open_tokenizer, token_id
from export.models.decoder import GEMMA, DecoderConfig
from export.models.pi0 import Pi0Config
from export.models.pi0_fast import Pi0FastConfig
from export.models.vit import SIGLIP, VitConfig

Clean = Literal["strip", "underscore", "newline", "lower"]
SPACED: tuple[Clean, ...] = ("strip", "underscore", "newline")
"""openpi's and lerobot's cleaning of an instruction, but for pi0 in lerobot and pi0-FAST in openpi."""
Positive = Annotated[int, msgspec.Meta(gt=0)]


class Sizes(msgspec.Struct):
    """dims.json: what no layout of the pi family records. Every key is optional; others are left alone.

    `state_dim`, `action_dim`: how many dimensions are the robot's, where statistics are longer (openpi).
    `relative_actions`: which action dimensions are relative to the state (openpi's DeltaActions, in no file of it).
    `discrete_state_input`: whether a pi0.5 is told the state in its prompt (openpi's libero configuration: false).
    """

    vlm: DecoderConfig | None = None
    expert: DecoderConfig | None = None
    vision: VitConfig | None = None
    vocab: Positive = 257152
    fps: float | None = None
    units: str = ""
    chunk: Positive | None = None
    steps: Positive | None = None
    max_token_len: Positive | None = None
    max_decode: Positive | None = None
    skip: Annotated[int, msgspec.Meta(ge=0)] = 128
    state_dim: Positive | None = None
    action_dim: Positive | None = None
    images: dict[str, tuple[int, int] | None] | None = None
    relative_actions: tuple[bool, ...] = ()
    discrete_state_input: bool = True


def read_sizes(dims: Path | None) -> Sizes:
    """What the dims file says, or what is usual where there is none."""
    return read_json(dims, Sizes, "--dims names a file with the model's sizes") if dims else Sizes()


def flow_config(path: Path, sizes: Sizes, *, variants: tuple[str, str], adaptive: bool, **more: Any) -> Pi0Config:
    """Sizes of a pi0 or, with `adaptive`, a pi0.5. `path` is the file to name where they are impossible."""
    language = sizes.vlm or _variant(path, "paligemma_variant", variants[0])
    expert = sizes.expert or _variant(path, "action_expert_variant", variants[1])
    vision = sizes.vision or SIGLIP["so400m"]
    try:
        return Pi0Config(vision, language, replace(expert, adaptive=adaptive), vocab=sizes.vocab, **more)
    except ValueError as error:
        raise CheckpointError(f"{path}: with these sizes {error}") from error


def token_config(
    path: Path,
    sizes: Sizes,
    *,
    variant: str,
    token_ids: tuple[int, ...],
    bos: int | None = None,
    decode_offset: int = 0,
) -> Pi0FastConfig:
    """Sizes of a pi0-FAST."""
    language = sizes.vlm or _variant(path, "paligemma_variant", variant)
    vision = sizes.vision or SIGLIP["so400m"]
    try:
        return Pi0FastConfig(vision, language, token_ids, sizes.vocab, bos, decode_offset)
    except ValueError as error:
        raise CheckpointError(f"{path}: with these sizes {error}") from error


def prompt(
    tokenizer: Path,
    vocab: int,
    template: str,
    max_tokens: int,
    *,
    clean: tuple[Clean, ...],
    apart: bool = False,
) -> PromptSpec:
    """PaliGemma's prompt: BOS first. `clean`: what is done to the instruction before, see `PromptSpec`."""
    tokens = open_tokenizer(tokenizer, vocab)
    bos, pad = token_id(tokenizer, tokens, "<bos>", "<s>"), token_id(tokenizer, tokens, "<pad>")
    return PromptSpec(template, max_tokens, bos, pad, clean=clean, apart=apart, vocab=vocab)


def _variant(path: Path, field: str, name: str) -> DecoderConfig:
    if name not in GEMMA:
        raise CheckpointError(f"{path}: {field} {name!r} is unknown; known are {', '.join(GEMMA)}, or give --dims")
    return GEMMA[name]
