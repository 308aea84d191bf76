"""OpenVLA-OFT: a Prismatic that writes a whole action chunk in one pass, every token seeing every other.

Paper: https://arxiv.org/abs/2502.19645; reference: openvla-oft `prismatic/extern/hf/modeling_prismatic.py`,
`prismatic/models/{action_heads,projectors}.py`. Attention sees both ways, as the fork of transformers that it needs
has it under SDPA, which is what it runs.
Shapes: B batch, C cameras, T text tokens, H horizon, D action dimensions, W width, L = C·P + T (+ 1 with a state).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.checkpoint import Checkpoint
from export.family import Family
from export.graphs import ModelGraph, seen, state
from export.models import openvla, prismatic
from export.models.common import additive, last_valid, need_positive, positions_of
from export.models.prismatic import CHANNELS, Prismatic, PrismaticConfig
from export.weights import Source

STOP = 2
"""Llama's </s>: it stands behind the actions, as it did in training."""
BLOCKS = 2
"""Residual blocks of the action head."""


@dataclass(frozen=True)
class OpenVlaOftConfig(PrismaticConfig):
    """Sizes. `state_dims` is 0 where the model reads no state."""

    horizon: int = 8
    action_dims: int = 7
    state_dims: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        need_positive(self, ("horizon", "action_dims"))
        if self.vocab <= STOP:
            raise ValueError(f"a table of {self.vocab} rows has no stop token {STOP}")


class StateProjector(nn.Module):
    """Normalised state [B, state_dims] → one token's embedding [B, W]."""

    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dims, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ffn = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.ffn(x)
        return out


class ActionHead(nn.Module):
    """Hidden states of one action's D tokens, side by side [B, H, D·W] → actions [B, H, D], trained by an L1 loss."""

    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(dims * width)
        self.fc1 = nn.Linear(dims * width, width)
        self.mlp_resnet_blocks = nn.ModuleList(ResidualBlock(width) for _ in range(BLOCKS))
        self.layer_norm2 = nn.LayerNorm(width)
        self.fc2 = nn.Linear(width, dims)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.fc1(self.layer_norm1(x)))
        for block in self.mlp_resnet_blocks:
            x = block(x)
        out: Tensor = self.fc2(self.layer_norm2(x))
        return out


class OpenVlaOft(Prismatic):
    """The model: one pass from an observation to a chunk."""

    def __init__(self, config: OpenVlaOftConfig) -> None:
        super().__init__(config)
        self.config = config
        self.action_head = ActionHead(config.action_dims, config.language.width)
        if config.state_dims:
            self.state_proj = StateProjector(config.state_dims, config.language.width)

    def act(self, pixels: Tensor, tokens: Tensor, token_mask: Tensor, state: Tensor | None = None) -> Tensor:
        """pixels [B, C, 6, S, S], tokens int64 [B, T], BOS first, token_mask bool [B, T], padding last, state
        [B, state_dims] → actions [B, H, D], normalised."""
        x, mask = self.embed(pixels, tokens, token_mask, state)
        hidden, _, _ = self.language(x, positions_of(mask), additive(mask)[:, None, :])
        actions: Tensor = self.action_head(self.read(hidden, mask))
        return actions

    def embed(
        self, pixels: Tensor, tokens: Tensor, token_mask: Tensor, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The prompt with what is seen and the state behind its BOS, H·D places of zeros, the stop token.

        Inputs as `act`; returns embeddings [B, L + H·D + 1, W] and their mask.
        """
        text = self.language.embed(torch.cat([tokens, torch.full_like(tokens[:, :1], STOP)], dim=1))
        extra = None if state is None else self.state_proj(state)[:, None, :]
        prompt, mask = self.sequence(pixels, text[:, :-1], token_mask, extra)
        slots = self.config.horizon * self.config.action_dims
        zeros = torch.zeros_like(prompt[:, :1]).expand(-1, slots, -1)
        return (
            torch.cat([prompt, zeros, text[:, -1:]], dim=1),
            torch.cat([mask, torch.ones_like(mask[:, :1]).expand(-1, slots + 1)], dim=1),
        )

    def read(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """What the action head sees of hidden [B, L + H·D + 1, W] → [B, H, D·W].

        Each action is read one position before its place, as a token would be predicted: the first where the prompt
        ends, which with a padded prompt is not the position beside it.
        """
        slots = self.config.horizon * self.config.action_dims
        length = hidden.shape[1] - slots - 1
        first = last_valid(hidden[:, :length], mask[:, :length])
        read = torch.cat([first[:, None, :], hidden[:, length : length + slots - 1]], dim=1)
        return read.reshape(hidden.shape[0], self.config.horizon, -1)


def _source(name: str, _: frozenset[str], config: OpenVlaOftConfig) -> Source:
    """Head and state projector lie in files of their own, each with names of its own."""
    if name.startswith("action_head."):
        return Source("model." + name.removeprefix("action_head."))
    if name.startswith("state_proj."):
        return Source(name.removeprefix("state_proj."))
    return prismatic.source(name, config)


def _graphs(model: nn.Module, checkpoint: Checkpoint) -> dict[str, ModelGraph]:
    spec, c = checkpoint.spec, checkpoint.config
    inputs = {**seen(spec, CHANNELS, c.dino.image), **(state(spec) if c.state_dims else {})}
    return {"model": ModelGraph(model, "act", inputs, ("actions",))}


FAMILY = Family(
    name="openvla_oft",
    head="parallel decoding, L1 regression",
    needs="Hugging Face + head files: --camera NAME=HEIGHTxWIDTH for each camera; --tokenizer where there is none; "
    "--dims where neither chunk nor robot can be told from the head files",
    build=OpenVlaOft,
    source=_source,
    unused=lambda name: name == openvla.HEAD or prismatic.unused(name),
    graphs=_graphs,
    constants=lambda _, __: {},
)
