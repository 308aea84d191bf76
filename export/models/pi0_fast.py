"""pi0-FAST: a PaliGemma that writes an action chunk as FAST tokens, one after the other.

Paper: https://arxiv.org/abs/2501.09747; reference: lerobot `policies/pi0_fast`, openpi `models/pi0_fast.py` (JAX).
Shapes: B batch, T text tokens, L prefix tokens, G generated at most, W width, K key/value heads, n action tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge_runtime.bundle_spec import TokenSpec
from export.checkpoint import Checkpoint
from export.family import Family
from export.graphs import DECODED, ModelGraph, PrefillGraph, decode_inputs, seen
from export.models import pi0
from export.models.common import last_valid, need_positive
from export.models.decoder import Decoder, DecoderConfig
from export.models.paligemma import PaliGemma
from export.models.vit import Vit, VitConfig
from export.weights import Source


@dataclass(frozen=True)
class Pi0FastConfig:
    """Sizes, and `token_ids`: every token that may stand in an answer, ascending.

    `bos`: the token that lerobot sets behind the padded prompt (None: none). `decode_offset`: how much further than its
    place a generated token's position is (openpi's JAX model: 1).
    """

    vision: VitConfig
    language: DecoderConfig
    token_ids: tuple[int, ...]
    vocab: int = 257152
    bos: int | None = None
    decode_offset: int = 0

    def __post_init__(self) -> None:
        need_positive(self, ("vocab",))
        if not self.token_ids or not 0 <= self.token_ids[0] <= self.token_ids[-1] < self.vocab:
            raise ValueError(f"action tokens do not fit a vocabulary of {self.vocab}")


class Pi0Fast(PaliGemma):
    """The decoder. Its head has rows for the action tokens alone."""

    def __init__(self, config: Pi0FastConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = Vit(config.vision)
        self.projector = nn.Linear(config.vision.hidden, config.language.width)
        self.language = Decoder(config.language, config.vocab)
        self.head = nn.Linear(config.language.width, len(config.token_ids), bias=False)

    def prefill(
        self, pixels: Tensor, tokens: Tensor, token_mask: Tensor, camera_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs as `backbone` → logits [B, n] of the first token, keys, values [depth, B, K, L, D], mask [B, L]."""
        if self.config.bos is not None:
            tokens = torch.cat([tokens, torch.full_like(tokens[:, :1], self.config.bos)], dim=1)
            token_mask = torch.cat([token_mask, torch.ones_like(token_mask[:, :1])], dim=1)
        hidden, keys, values, mask = self.backbone(pixels, tokens, token_mask, camera_mask)
        return self.head(last_valid(hidden, mask)), keys, values, mask

    def decode(self, token: Tensor, cache_mask: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """token int64 [B, 1] after the cache's valid slots, cache_mask bool [B, L+G], keys, values
        [depth, B, K, L+G, D] → logits [B, n] of the next token, this one's keys and values [depth, B, K, 1, D]."""
        offset = float(self.config.decode_offset)
        hidden, new_keys, new_values = self.language.one_more(token, cache_mask, keys, values, offset)
        return self.head(hidden), new_keys, new_values


def _graphs(model: nn.Module, checkpoint: Checkpoint) -> dict[str, ModelGraph]:
    spec, c = checkpoint.spec, checkpoint.config
    assert isinstance(spec.head, TokenSpec)
    text = spec.prompt.max_tokens + (c.bos is not None)
    length = len(spec.cameras) * c.vision.patches + text + spec.head.max_new
    sizes = (c.language.depth, c.language.num_kv_heads, length, c.language.head_dim)
    return {
        "prefill": PrefillGraph(model, seen(spec, 3, c.vision.image), spec.head.max_new),
        "decode": ModelGraph(model, "decode", decode_inputs(*sizes), DECODED),
    }


def _source(name: str, stored: frozenset[str], config: Pi0FastConfig) -> Source:
    if name == "head.weight":
        return Source(pi0.HEAD if pi0.HEAD in stored else pi0.TABLE, rows=config.token_ids)
    return pi0.source(name, stored)


FAMILY = Family(
    name="pi0_fast",
    head="FAST tokens (DCT + BPE)",
    needs="--tokenizer and --fast-tokenizer; --dims as for pi0; openpi: --camera for each camera",
    build=Pi0Fast,
    source=_source,
    unused=lambda name: name == pi0.HEAD or name.startswith("paligemma_with_expert.gemma_expert."),
    graphs=_graphs,
    constants=lambda _, checkpoint: {"token_ids": torch.tensor(checkpoint.config.token_ids)},
)
