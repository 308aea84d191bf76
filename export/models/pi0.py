"""pi0 and pi0.5: an action expert turns noise into actions while it reads a vision-language prefix's keys and values.

Papers: https://arxiv.org/abs/2410.24164 and https://arxiv.org/abs/2504.16054; reference: openpi
`models_pytorch/pi0_pytorch.py`, lerobot `policies/pi0` and `policies/pi05`. pi0.5 tells the state in the prompt and
puts flow time into the expert's norms; everything else is pi0's.
Shapes: B batch, C camera slots, P patches a camera, T text tokens, L = C·P + T, H horizon, W width, K key/value heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.checkpoint import Checkpoint
from export.family import Family
from export.graphs import ModelGraph, cache, flow_inputs, mask, seen, state
from export.models.common import additive, need_positive, positions_of
from export.models.decoder import Decoder, DecoderConfig
from export.models.flow import constants, each_row, time_embedding
from export.models.paligemma import PaliGemma
from export.models.vit import Vit, VitConfig
from export.weights import Source

PUBLISHED_PREFIXES = {
    "vision.": "paligemma_with_expert.paligemma.model.vision_tower.vision_model.",
    "projector.": "paligemma_with_expert.paligemma.model.multi_modal_projector.linear.",
    "language.": "paligemma_with_expert.paligemma.model.language_model.",
    "expert.": "paligemma_with_expert.gemma_expert.model.",
}
"""Our parameter prefix → the published one; every other parameter has its published name."""
TABLE = "paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight"
HEAD = "paligemma_with_expert.paligemma.lm_head.weight"
EXPERT_HEAD = "paligemma_with_expert.gemma_expert.lm_head.weight"


@dataclass(frozen=True)
class Pi0Config:
    """Sizes of a pi0, or of a pi0.5 where `expert.adaptive`.

    `state_padded` and `action_padded` are the widths the model sees, whatever the robot has.
    """

    vision: VitConfig
    language: DecoderConfig
    expert: DecoderConfig
    vocab: int = 257152
    horizon: int = 50
    state_padded: int = 32
    action_padded: int = 32
    min_period: float = 4e-3
    max_period: float = 4.0

    def __post_init__(self) -> None:
        need_positive(self)
        for name in ("depth", "num_kv_heads", "head_dim"):
            if getattr(self.language, name) != getattr(self.expert, name):
                raise ValueError(f"{name} differs between language model and expert, which reads its keys and values")
        if self.expert.width % 2:
            raise ValueError(f"the expert's width is {self.expert.width}, it must be even")


class Pi0(PaliGemma):
    """The model, for training and export alike. Flow time runs from t=1 (noise) to t=0 (actions)."""

    def __init__(self, config: Pi0Config) -> None:
        super().__init__()
        self.config = config
        width = config.expert.width
        self.vision = Vit(config.vision)
        self.projector = nn.Linear(config.vision.hidden, config.language.width)
        self.language = Decoder(config.language, config.vocab)
        self.expert = Decoder(config.expert)
        self.action_in_proj = nn.Linear(config.action_padded, width)
        self.action_out_proj = nn.Linear(width, config.action_padded)
        if config.expert.adaptive:
            self.time_mlp_in = nn.Linear(width, width)
            self.time_mlp_out = nn.Linear(width, width)
        else:
            self.state_proj = nn.Linear(config.state_padded, width)
            self.action_time_mlp_in = nn.Linear(2 * width, width)
            self.action_time_mlp_out = nn.Linear(width, width)

    def prefix(
        self, pixels: Tensor, tokens: Tensor, token_mask: Tensor, camera_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the expert reads: keys, values [depth, B, K, L, D], mask bool [B, L]. Inputs as `embed_prefix`."""
        embeddings, mask = self.embed_prefix(pixels, tokens, token_mask, camera_mask)
        keys, values = self.language.cache(embeddings, positions_of(mask), additive(mask)[:, None, :])
        return keys, values, mask

    def embed_suffix(self, state: Tensor, x_t: Tensor, t_emb: Tensor) -> Tensor:
        """pi0: state [B, padded], noisy actions x_t [B, H, padded], t_emb [B, W] or [B, H, W] → suffix [B, 1+H, W]."""
        actions = self.action_in_proj(x_t)
        actions = torch.cat([actions, each_row(t_emb, actions.shape[1]).to(actions.dtype)], dim=-1)
        actions = self.action_time_mlp_out(F.silu(self.action_time_mlp_in(actions)))
        return torch.cat([self.state_proj(state)[:, None, :], actions], dim=1)

    def velocity(
        self,
        keys: Tensor,
        values: Tensor,
        prefix_mask: Tensor,
        x_t: Tensor,
        cond: Tensor,
        state: Tensor | None = None,
    ) -> Tensor:
        """The expert: dx/dt at x_t. keys, values [depth, B, K, L, D], prefix_mask bool [B, L], x_t [B, H, padded],
        cond [B, ...] of that time as `cond` has it, or [B, H, ...] of every action's own, state [B, padded] (pi0.5:
        none) → [B, H, padded].

        A state does not see the actions; they see all.
        """
        if state is None:
            suffix, modulation = self.action_in_proj(x_t), self.unpack(cond)
        else:
            suffix, modulation = self.embed_suffix(state, x_t, cond), None
        batch, length = suffix.shape[0], suffix.shape[1]
        index = torch.arange(length, device=suffix.device)
        own = (index[:, None] > (0 if state is not None else -1)) | (index[None, :] == 0)  # a state sees itself alone
        seen = torch.cat(
            [prefix_mask[:, None, :].expand(-1, length, -1), own[None].expand(batch, -1, -1)], dim=2
        )  # [B, S, L+S]
        count = prefix_mask.to(torch.float32).sum(dim=1, keepdim=True)
        positions = count + index.to(torch.float32)
        hidden, _, _ = self.expert(suffix, positions, additive(seen), (keys, values), modulation)
        out: Tensor = self.action_out_proj(hidden[:, -x_t.shape[1] :])
        return out

    def cond(self, times: Tensor) -> Tensor:
        """Flow times [N] or [B, H] → what `velocity` must know of them, float32 [..., W], or for pi0.5
        [..., (2·depth + 1)·3·W]."""
        c = self.config
        embedding = time_embedding(times, c.expert.width, c.min_period, c.max_period)
        if not c.expert.adaptive:
            return embedding
        hidden = F.silu(self.time_mlp_out(F.silu(self.time_mlp_in(embedding))))
        return self.expert.modulation(hidden).movedim(0, -2).flatten(-2)

    def unpack(self, cond: Tensor) -> Tensor:
        """Of `cond` [B, (2·depth + 1)·3·W] or [B, H, ...], the expert's modulation [2·depth + 1, B, 3·W] or
        [2·depth + 1, B, H, 3·W]."""
        rows = cond.reshape(*cond.shape[:-1], -1, 3 * self.config.expert.width)
        return rows.transpose(0, 1) if cond.ndim == 2 else rows.movedim(-2, 0)


def published_name(name: str) -> str:
    """Our parameter name → the published one (behind `Checkpoint.prefix`)."""
    for ours, theirs in PUBLISHED_PREFIXES.items():
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    return name


def source(name: str, stored: frozenset[str], _: Any = None) -> Source:
    """The token table is `embed_tokens`; only where that is absent, the tied `lm_head` is it."""
    published = published_name(name)
    return Source(HEAD if published == TABLE and TABLE not in stored else published)


def _graphs(model: nn.Module, checkpoint: Checkpoint) -> dict[str, ModelGraph]:
    spec, c = checkpoint.spec, checkpoint.config
    length = len(spec.cameras) * c.vision.patches + spec.prompt.max_tokens
    assert isinstance(model, Pi0)
    step = {
        **cache(c.expert.depth, c.expert.num_kv_heads, length, c.expert.head_dim),
        **mask("prefix_mask", length),
        **flow_inputs(spec, model.cond(torch.ones(1, device="meta")).shape[1]),
        **({} if c.expert.adaptive else state(spec)),
    }
    return {
        "prefix": ModelGraph(model, "prefix", seen(spec, 3, c.vision.image), ("keys", "values", "prefix_mask")),
        "step": ModelGraph(model, "velocity", step, ("velocity",)),
    }


FAMILY = Family(
    name="pi0",
    head="flow matching",
    needs="--tokenizer; --dims for other sizes than the named variants'; openpi: --camera for each camera",
    build=Pi0,
    source=source,
    unused=lambda name: name in (HEAD, EXPERT_HEAD),
    graphs=_graphs,
    constants=constants,
)
