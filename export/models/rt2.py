"""The RT-2 recipe: a PaliGemma taught to write an action as integers in words, or as one overwritten token a number.

Paper: https://arxiv.org/abs/2307.15818, sections 3.2 and 3.3 (RT-2 itself is closed); reference of what is fine-tuned:
transformers `PaliGemmaForConditionalGeneration`. The decoder is pi0-FAST's, counting positions from 1.
Shapes: B batch, L prefix tokens, W width, K key/value heads, D head_dim, n tokens that may be written.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from export.checkpoint import Checkpoint
from export.family import Family
from export.models import pi0_fast
from export.models.common import additive, need_positive, positions_of
from export.models.pi0_fast import Pi0Fast, Pi0FastConfig
from export.weights import Source

FIRST = 1
"""Position of a prompt's first token (transformers: "Paligemma positions are 1-indexed")."""
PUBLISHED = {
    "vision.": ("post_layernorm.weight", ("model.vision_tower.vision_model.", "vision_tower.vision_model.")),
    "projector.": ("weight", ("model.multi_modal_projector.linear.", "multi_modal_projector.linear.")),
    "language.": ("norm.weight", ("model.language_model.", "model.language_model.model.", "language_model.model.")),
}
"""Our parameter prefix → a name behind it, and what stands before it: in transformers' models since 4.52, in what
5.5 saves of them (of the language model), and in older files."""
HEADS = ("lm_head.weight", "language_model.lm_head.weight")
"""The language head, which is not stored where it is the token table."""


@dataclass(frozen=True)
class Rt2Config(Pi0FastConfig):
    """Sizes, and `token_ids`: every token that may be written; where one token is a number, that of bin 0 first.

    `bins`: how many values a number can have. They are the centres of as many equal parts of [-1, 1].
    """

    decode_offset: int = FIRST
    bins: int = 256

    def __post_init__(self) -> None:
        need_positive(self, ("vocab", "bins"))
        strange = sorted(token for token in self.token_ids if not 0 <= token < self.vocab)
        if not self.token_ids or strange:
            raise ValueError(f"action tokens {strange[:3]} do not fit a vocabulary of {self.vocab}")
        if len(set(self.token_ids)) != len(self.token_ids):
            raise ValueError("an action token is named twice")

    def values(self) -> Tensor:
        """What each number means, normalised, float32 [bins]."""
        number = torch.arange(self.bins, dtype=torch.float64)
        return ((2.0 * number + 1.0) / self.bins - 1.0).to(torch.float32)


class Rt2(Pi0Fast):
    """The decoder. Image and text see each other both ways; what is written sees all before it."""

    def backbone(
        self, pixels: Tensor, tokens: Tensor, token_mask: Tensor, camera_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As PaliGemma's, but the first position is `FIRST`."""
        embeddings, mask = self.embed_prefix(pixels, tokens, token_mask, camera_mask)
        hidden, keys, values = self.language(embeddings, positions_of(mask) + FIRST, additive(mask)[:, None, :])
        return hidden, keys, values, mask


def published_name(name: str, stored: frozenset[str]) -> str:
    """Our parameter name → the one it has among `stored`, whichever release of transformers wrote them."""
    ours, _, rest = name.partition(".")
    known, prefixes = PUBLISHED[ours + "."]
    return next((prefix for prefix in prefixes if prefix + known in stored), prefixes[0]) + rest


def _source(name: str, stored: frozenset[str], config: Rt2Config) -> Source:
    """Token table and head are one tensor or two. Where both are stored, both count, as in transformers 5."""
    head = next((head for head in HEADS if head in stored), None)
    table = published_name("language.embed_tokens.weight", stored)
    if name == "head.weight":
        return Source(head or table, rows=config.token_ids)
    published = published_name(name, stored)
    return Source(head if head and published == table and table not in stored else published)


def _unused(name: str) -> bool:
    """The head where it is not read, SigLIP's pooling, which PaliGemma does not use, and tables of positions."""
    return name in HEADS or ".vision_model.head." in name or name.endswith((".position_ids", ".inv_freq"))


def _constants(_: nn.Module, checkpoint: Checkpoint) -> dict[str, Tensor]:
    config: Rt2Config = checkpoint.config
    return {"token_ids": torch.tensor(config.token_ids), "values": config.values()}


FAMILY = Family(
    name="rt2",
    head="integers in words, or one token a number",
    needs="Hugging Face PaliGemma: action_config.json (docs/rt2.md), there or as --dims",
    build=Rt2,
    source=_source,
    unused=_unused,
    graphs=pi0_fast.FAMILY.graphs,
    constants=_constants,
)
