"""SmolVLM, the backbone of SmolVLA: its sizes by name, how patches become tokens, and what stands around an image.

Reference: transformers `models/smolvlm`. The towers themselves are `Vit` and `Decoder`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from export.models.decoder import DecoderConfig
from export.models.vit import SIGLIP, VitConfig

MARK_NAMES = ("<fake_token_around_image>", "<global-img>")
"""The tokens of `ImageMarks` as SmolVLM's tokenizer spells them."""


class ImageMarks(NamedTuple):
    """Tokens around an image: `around`, `whole`, the image, `around`. Their embeddings are not scaled."""

    around: int
    whole: int


@dataclass(frozen=True)
class SmolVlm:
    """Sizes of a SmolVLM: its towers, and how many patches along each side become one token."""

    vision: VitConfig
    language: DecoderConfig
    scale_factor: int
    vocab: int


def smollm(
    width: int, depth: int, mlp_dim: int, num_heads: int, num_kv_heads: int, head_dim: int, norm_eps: float = 1e-5
) -> DecoderConfig:
    """A SmolLM2. Its rotary base is 10000 here whatever its config says: lerobot rotates with that."""
    return DecoderConfig(
        width, depth, mlp_dim, num_heads, num_kv_heads, head_dim, activation="silu", norm_offset=0.0, norm_eps=norm_eps
    )


SMOLVLM = {
    "SmolVLM2-500M-Video-Instruct": SmolVlm(
        SIGLIP["smolvlm2-500m"], smollm(960, 32, 2560, 15, 5, 64), scale_factor=4, vocab=49280
    )
}
"""By the last part of lerobot's `vlm_model_name`."""


def pixel_shuffle(patches: Tensor, factor: int) -> Tensor:
    """Patches [N, S·S, W] of a square image → [N, S·S/f², f²·W]: each f × f of them, row by row, side by side."""
    side = math.isqrt(patches.shape[1])
    blocks = patches.reshape(patches.shape[0], side // factor, factor, side // factor, factor, -1)
    return blocks.transpose(2, 3).flatten(3).flatten(1, 2)
