"""pi0: a vision-language prefix whose keys and values an action expert reads while it turns noise into an action chunk.

Paper: https://arxiv.org/abs/2410.24164; reference: openpi `models_pytorch/pi0_pytorch.py`, lerobot `policies/pi0`.
Shapes: B batch, C camera slots, P patches a camera, T text tokens, L = C·P + T, H horizon, W width, K key/value heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.models.blocks import Gemma, GemmaConfig, Siglip, SiglipConfig, additive, need_positive

PUBLISHED_PREFIXES = {
    "vision.": "paligemma_with_expert.paligemma.model.vision_tower.vision_model.",
    "projector.": "paligemma_with_expert.paligemma.model.multi_modal_projector.linear.",
    "language.": "paligemma_with_expert.paligemma.model.language_model.",
    "expert.": "paligemma_with_expert.gemma_expert.model.",
}
"""Our parameter prefix → the published one; every other parameter has its published name."""


@dataclass(frozen=True)
class Pi0Config:
    """Sizes of a pi0. `state_padded` and `action_padded` are the widths the model sees, whatever the robot has."""

    vision: SiglipConfig
    language: GemmaConfig
    expert: GemmaConfig
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


def time_embedding(t: Tensor, dim: int, min_period: float, max_period: float) -> Tensor:
    """Sine and cosine of times t [N] at periods spaced geometrically → float32 [N, dim].

    In float64 inside: angles reach 2π/min_period ≈ 1571 rad, where float32 moves the finished chunk by 2e-5 to 4e-5.
    """
    fraction = torch.linspace(0.0, 1.0, dim // 2, dtype=torch.float64, device=t.device)
    period = min_period * (max_period / min_period) ** fraction
    angle = t.to(torch.float64)[:, None] * (2.0 * math.pi / period)
    return torch.cat([angle.sin(), angle.cos()], dim=-1).to(torch.float32)


class Pi0(nn.Module):
    """The model, for training and export alike. Flow time runs from t=1 (noise) to t=0 (actions)."""

    def __init__(self, config: Pi0Config) -> None:
        super().__init__()
        self.config = config
        width = config.expert.width
        self.vision = Siglip(config.vision)
        self.projector = nn.Linear(config.vision.hidden, config.language.width)
        self.language = Gemma(config.language, config.vocab)
        self.expert = Gemma(config.expert)
        self.state_proj = nn.Linear(config.state_padded, width)
        self.action_in_proj = nn.Linear(config.action_padded, width)
        self.action_time_mlp_in = nn.Linear(2 * width, width)
        self.action_time_mlp_out = nn.Linear(width, width)
        self.action_out_proj = nn.Linear(width, config.action_padded)

    def embed_prefix(
        self, pixels: Tensor, camera_mask: Tensor, tokens: Tensor, token_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Images, then text. pixels [B, C, 3, S, S] in [-1, 1], camera_mask bool [B, C], tokens int64 [B, T],
        token_mask bool [B, T] → embeddings [B, L, W], mask bool [B, L]."""
        patches = self.projector(self.vision(pixels.flatten(0, 1)))  # [B·C, P, W]
        patches = patches.reshape(camera_mask.shape[0], -1, patches.shape[-1])  # [B, C·P, W]
        patch_mask = camera_mask[:, :, None].expand(-1, -1, self.config.vision.patches).flatten(1)
        embeddings = torch.cat([patches, self.language.embed(tokens).to(patches.dtype)], dim=1)
        return embeddings, torch.cat([patch_mask, token_mask], dim=1)

    def prefix(
        self, pixels: Tensor, camera_mask: Tensor, tokens: Tensor, token_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The backbone: every token sees every valid one. Inputs as `embed_prefix`.

        Returns hidden [B, L, W], keys (rotated) and values [depth, B, K, L, D], mask bool [B, L]. What stands at a
        masked position means nothing and is never read; such positions do not advance the count.
        """
        embeddings, mask = self.embed_prefix(pixels, camera_mask, tokens, token_mask)
        positions = mask.to(torch.float32).cumsum(dim=1) - 1.0
        hidden, keys, values = self.language(embeddings, positions, additive(mask)[:, None, :])
        return hidden, keys, values, mask

    def embed_suffix(self, state: Tensor, x_t: Tensor, t_emb: Tensor) -> Tensor:
        """State [B, padded], noisy actions x_t [B, H, padded], t_emb [B, W] → suffix [B, 1+H, W]."""
        actions = self.action_in_proj(x_t)
        actions = torch.cat([actions, t_emb[:, None, :].expand(-1, actions.shape[1], -1).to(actions.dtype)], dim=-1)
        actions = self.action_time_mlp_out(F.silu(self.action_time_mlp_in(actions)))
        return torch.cat([self.state_proj(state)[:, None, :], actions], dim=1)

    def velocity(
        self, keys: Tensor, values: Tensor, prefix_mask: Tensor, state: Tensor, x_t: Tensor, t_emb: Tensor
    ) -> Tensor:
        """The expert: dx/dt at x_t. keys, values [depth, B, K, L, D], prefix_mask bool [B, L], state [B, padded],
        x_t [B, H, padded], t_emb [B, W_expert] → [B, H, padded]. The state does not see the actions; they see all."""
        suffix = self.embed_suffix(state, x_t, t_emb)
        batch, length = suffix.shape[0], suffix.shape[1]
        own = torch.ones(length, length, dtype=torch.bool, device=suffix.device)
        own[0, 1:] = False
        seen = torch.cat(
            [prefix_mask[:, None, :].expand(-1, length, -1), own[None].expand(batch, -1, -1)], dim=2
        )  # [B, 1+H, L+1+H]
        count = prefix_mask.to(torch.float32).sum(dim=1, keepdim=True)
        positions = count + torch.arange(length, dtype=torch.float32, device=suffix.device)
        hidden, _, _ = self.expert(suffix, positions, additive(seen), (keys, values))
        out: Tensor = self.action_out_proj(hidden[:, 1:])
        return out

    def cond(self, times: Tensor) -> Tensor:
        """Flow times [N] → what `velocity` must know of them, float32 [N, W_expert]."""
        c = self.config
        return time_embedding(times, c.expert.width, c.min_period, c.max_period)


def published_name(name: str) -> str:
    """Our parameter name → the published one (without lerobot's leading `model.`)."""
    for ours, theirs in PUBLISHED_PREFIXES.items():
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    return name
