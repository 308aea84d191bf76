"""SmolVLA in the lerobot layout."""

from __future__ import annotations

from pathlib import Path

import msgspec
from tokenizers import Tokenizer

from edge_runtime.bundle_spec import PromptSpec
from export.errors import CheckpointError
from export.image import Preprocess
from export.json_file import read_json
from export.layouts.lerobot_files import Config
from export.layouts.lerobot_parts import LerobotGiven, Parts
from export.layouts.text import open_tokenizer, token_id
from export.models.smolvla import SmolVlaConfig, decoders
from export.models.smolvlm import MARK_NAMES, SMOLVLM, ImageMarks, SmolVlm, smollm
from export.models.vit import VitConfig


class _Language(msgspec.Struct):
    """`vlm` of a dims.json: the VLM's own language model, before layers are cut off."""

    hidden: int
    mlp: int
    layers_in_vlm_config: int
    heads: int
    kv_heads: int
    head_dim: int
    norm_eps: float = 1e-6
    """Llama's default, which a VLM config that leaves it out has; the published SmolVLM2 says 1e-5."""


class _Dims(msgspec.Struct):
    """dims.json of a SmolVLA whose VLM is not a named one."""

    vlm: _Language | None = None
    vision: VitConfig | None = None
    scale_factor: int | None = None
    vocab: int | None = None


def smolvla(given: LerobotGiven) -> Parts:
    """A SmolVLA's sizes, head, prompt and frames."""
    config, path = given.config, given.path
    if config.adapt_to_pi_aloha or config.use_delta_joint_actions_aloha:
        raise CheckpointError(f"{path}: adapt_to_pi_aloha, use_delta_joint_actions_aloha: neither can be exported")
    vlm = _vlm(given)
    side = vlm.vision.image
    if config.resize_imgs_with_padding != (side, side):
        raise CheckpointError(
            f"{path}: resize_imgs_with_padding is {config.resize_imgs_with_padding}, the vision tower takes {side} "
            "pixels square; give its sizes with --dims"
        )
    tokens = open_tokenizer(given.tokenizer, vlm.vocab)
    model = _config(path, config, vlm, _marks(given, tokens))
    pad = token_id(given.tokenizer, tokens, "<pad>", "<|im_end|>", "<|endoftext|>")
    return Parts(
        config=model,
        head=given.flow(config.num_steps, model.read),
        prompt=PromptSpec("{instruction}\n", given.max_tokens, None, pad, clean=("strip",), vocab=vlm.vocab),
        image=Preprocess(side, "torch-bilinear", "top-left"),
        horizon=config.chunk_size,
        files={},
    )


def _vlm(given: LerobotGiven) -> SmolVlm:
    """The named VLM, with what a dims file says in its place."""
    dims = read_json(given.dims, _Dims) if given.dims else _Dims()
    named = SMOLVLM.get(given.config.vlm_model_name.rpartition("/")[2])
    if named is None and None in (dims.vlm, dims.vision, dims.scale_factor, dims.vocab):
        raise CheckpointError(
            f"{given.path}: vlm_model_name {given.config.vlm_model_name!r} is unknown; known are {', '.join(SMOLVLM)}, "
            "or give vlm, vision, scale_factor and vocab with --dims"
        )
    base = named or next(iter(SMOLVLM.values()))
    language = base.language
    if dims.vlm is not None:
        v = dims.vlm
        language = smollm(v.hidden, v.layers_in_vlm_config, v.mlp, v.heads, v.kv_heads, v.head_dim, v.norm_eps)
    return SmolVlm(
        vision=dims.vision or base.vision,
        language=language,
        scale_factor=dims.scale_factor or base.scale_factor,
        vocab=dims.vocab or base.vocab,
    )


def _marks(given: LerobotGiven, tokens: Tokenizer) -> ImageMarks | None:
    if not given.config.add_image_special_tokens:
        return None
    around, whole = (token_id(given.tokenizer, tokens, name) for name in MARK_NAMES)
    return ImageMarks(around, whole)


def _config(path: Path, config: Config, vlm: SmolVlm, marks: ImageMarks | None) -> SmolVlaConfig:
    try:
        language, expert = decoders(
            vlm.language, config.num_vlm_layers, config.num_expert_layers, config.expert_width_multiplier
        )
        return SmolVlaConfig(
            vision=vlm.vision,
            language=language,
            expert=expert,
            scale_factor=vlm.scale_factor,
            vocab=vlm.vocab,
            horizon=config.chunk_size,
            state_padded=config.max_state_dim,
            action_padded=config.max_action_dim,
            self_attn_every=config.self_attn_every_n_layers,
            attention_mode="cross_attn" if "cross" in config.attention_mode else "self_attn",
            marks=marks,
            empty_cameras=config.empty_cameras if marks else 0,
            min_period=config.min_period,
            max_period=config.max_period,
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: with these sizes {error}") from error
