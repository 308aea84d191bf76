"""OpenVLA: a Prismatic that writes an action as tokens, one for each dimension, in bins of [-1, 1].

Paper: https://arxiv.org/abs/2406.09246; reference: openvla `OpenVLAForActionPrediction.predict_action`.
Shapes: B batch, T text tokens, L = P + T, G generated at most, K key/value heads, D head_dim, n bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge_runtime.bundle_spec import TokenSpec
from export.checkpoint import Checkpoint
from export.family import Family
from export.graphs import DECODED, ModelGraph, PrefillGraph, decode_inputs, seen
from export.models import prismatic
from export.models.common import additive, last_valid, positions_of
from export.models.prismatic import CHANNELS, Prismatic, PrismaticConfig
from export.weights import Source

HEAD = "language_model.lm_head.weight"


@dataclass(frozen=True)
class OpenVlaConfig(PrismaticConfig):
    """Sizes. The last `padding` rows of the table are no tokens; the last `bins` tokens before them are actions."""

    padding: int = 64
    bins: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.padding < 0 or self.bins < 2 or self.tokens.start < 0:
            raise ValueError(f"{self.bins} bins and {self.padding} rows of padding do not fit {self.vocab} rows")

    @property
    def tokens(self) -> range:
        """The action tokens, ascending: the same order in which a full head would break a tie."""
        end = self.vocab - self.padding
        return range(end - self.bins, end)

    def values(self) -> Tensor:
        """What each of `tokens` means, float32 [bins]: the higher the token, the lower the action.

        There are bins - 1 centres between `bins` edges, so that the two lowest tokens mean the same.
        """
        edges = torch.linspace(-1.0, 1.0, self.bins, dtype=torch.float64)
        centres = (edges[:-1] + edges[1:]) / 2.0
        index = self.vocab - self.padding - torch.tensor(self.tokens) - 1
        return centres[index.clamp(0, self.bins - 2)].to(torch.float32)


class OpenVla(Prismatic):
    """The decoder. Its head has rows for the action tokens alone."""

    def __init__(self, config: OpenVlaConfig) -> None:
        super().__init__(config)
        self.config = config
        self.head = nn.Linear(config.language.width, config.bins, bias=False)

    def prefill(self, pixels: Tensor, tokens: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """pixels [B, 1, 6, S, S], tokens int64 [B, T], BOS first, token_mask bool [B, T], padding last.

        Returns logits [B, n] of the first action token, keys (rotated) and values [depth, B, K, L, D], mask [B, L].
        """
        x, mask = self.sequence(pixels, self.language.embed(tokens), token_mask)
        index = torch.arange(mask.shape[1], device=mask.device)
        visible = mask[:, None, :] & (index[None, :] <= index[:, None])  # [B, L, L], causal
        hidden, keys, values = self.language(x, positions_of(mask), additive(visible))
        return self.head(last_valid(hidden, mask)), keys, values, mask

    def decode(self, token: Tensor, cache_mask: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """token int64 [B, 1] after the cache's valid slots, cache_mask bool [B, L+G], keys, values
        [depth, B, K, L+G, D] → logits [B, n] of the next token, this one's keys and values [depth, B, K, 1, D]."""
        hidden, new_keys, new_values = self.language.one_more(token, cache_mask, keys, values)
        return self.head(hidden), new_keys, new_values


def _source(name: str, _: frozenset[str], config: OpenVlaConfig) -> Source:
    if name == "head.weight":
        return Source(HEAD, rows=slice(config.tokens.start, config.tokens.stop))
    return prismatic.source(name, config)


def _graphs(model: nn.Module, checkpoint: Checkpoint) -> dict[str, ModelGraph]:
    spec, c = checkpoint.spec, checkpoint.config
    assert isinstance(spec.head, TokenSpec)
    length = c.patches + spec.prompt.max_tokens + spec.head.max_new
    sizes = (c.language.depth, c.language.num_kv_heads, length, c.language.head_dim)
    return {
        "prefill": PrefillGraph(model, seen(spec, CHANNELS, c.dino.image), spec.head.max_new),
        "decode": ModelGraph(model, "decode", decode_inputs(*sizes), DECODED),
    }


def _constants(_: nn.Module, checkpoint: Checkpoint) -> dict[str, Tensor]:
    config: OpenVlaConfig = checkpoint.config
    return {"token_ids": torch.tensor(config.tokens), "values": config.values()}


FAMILY = Family(
    name="openvla",
    head="256-bin tokens",
    needs="Hugging Face: --camera NAME=HEIGHTxWIDTH; --statistics where there are several robots' statistics",
    build=OpenVla,
    source=_source,
    unused=prismatic.unused,
    graphs=_graphs,
    constants=_constants,
)
