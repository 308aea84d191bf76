"""The parts that the pi family is built of: a SigLIP vision tower, Gemma decoder layers, rotary positions.

Parameter names inside each part are the published ones (transformers), so a checkpoint loads by prefix alone.
Shapes: B batch, C cameras, P patches, L prefix tokens, S suffix tokens, W width, K key/value heads, D head_dim.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MASKED = -1e4
"""Added to the score of a key that must not be seen. Finite in every precision: -inf makes NaN of a row of masks."""


def need_positive(config: Any) -> None:
    """Raise `ValueError` that names the first number of a config dataclass which is not above zero."""
    for name, value in vars(config).items():
        if isinstance(value, (int, float)) and not value > 0:
            raise ValueError(f"{name} is {value}, it must be above zero")


@dataclass(frozen=True)
class SiglipConfig:
    """Sizes of a vision tower: square images of `image` pixels in patches of `patch`."""

    hidden: int
    layers: int
    heads: int
    mlp: int
    patch: int
    image: int

    def __post_init__(self) -> None:
        need_positive(self)
        if self.hidden % self.heads or self.patch > self.image:
            raise ValueError(f"hidden {self.hidden} must divide into {self.heads} heads, a patch must fit the image")

    @property
    def patches(self) -> int:
        return (self.image // self.patch) ** 2


@dataclass(frozen=True)
class GemmaConfig:
    """Sizes of a Gemma decoder."""

    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int

    def __post_init__(self) -> None:
        need_positive(self)
        if self.num_heads % self.num_kv_heads or self.head_dim % 2:
            raise ValueError(f"{self.num_heads} heads must divide into {self.num_kv_heads}, head_dim must be even")


SIGLIP = {
    "so400m": SiglipConfig(hidden=1152, layers=27, heads=16, mlp=4304, patch=14, image=224),
}
GEMMA = {
    "gemma_2b": GemmaConfig(width=2048, depth=18, mlp_dim=16384, num_heads=8, num_kv_heads=1, head_dim=256),
    "gemma_300m": GemmaConfig(width=1024, depth=18, mlp_dim=4096, num_heads=8, num_kv_heads=1, head_dim=256),
}


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, S, heads·D] → [B, heads, S, D]."""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


class SiglipAttention(nn.Module):
    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_proj = nn.Linear(config.hidden, config.hidden)
        self.k_proj = nn.Linear(config.hidden, config.hidden)
        self.v_proj = nn.Linear(config.hidden, config.hidden)
        self.out_proj = nn.Linear(config.hidden, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(proj(x), self.heads) for proj in (self.q_proj, self.k_proj, self.v_proj))
        out: Tensor = self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class SiglipMlp(nn.Module):
    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden, config.mlp)
        self.fc2 = nn.Linear(config.mlp, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return out


class SiglipLayer(nn.Module):
    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden, eps=1e-6)
        self.self_attn = SiglipAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden, eps=1e-6)
        self.mlp = SiglipMlp(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        x = x + self.mlp(self.layer_norm2(x))
        return x


class SiglipEmbeddings(nn.Module):
    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(3, config.hidden, kernel_size=config.patch, stride=config.patch)
        self.position_embedding = nn.Embedding(config.patches, config.hidden)
        nn.init.normal_(self.position_embedding.weight, std=config.hidden**-0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.patch_embedding(pixels).flatten(2).transpose(1, 2) + self.position_embedding.weight
        return out


class SiglipEncoder(nn.Module):
    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(SiglipLayer(config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Siglip(nn.Module):
    """The vision tower: pixels [N, 3, image, image] in [-1, 1] → patch features [N, P, hidden]."""

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.embeddings = SiglipEmbeddings(config)
        self.encoder = SiglipEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden, eps=1e-6)

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.post_layernorm(self.encoder(self.embeddings(pixels)))
        return out


class RMSNorm(nn.Module):
    """Gemma's: scaled by 1 + weight, computed in float32."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        return (y * (1.0 + self.weight.float())).to(x.dtype)


class Rotary(NamedTuple):
    """Cosine and sine of every position's angles, float32 [B, 1, L, D]."""

    cos: Tensor
    sin: Tensor


def rotary(positions: Tensor, head_dim: int, base: float = 10000.0) -> Rotary:
    """Rotary tables for `positions` [B, L] (https://arxiv.org/abs/2104.09864, half-split as Gemma)."""
    exponent = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim
    angles = positions.to(torch.float32)[:, None, :, None] * (1.0 / base**exponent)
    angles = torch.cat([angles, angles], dim=-1)
    return Rotary(angles.cos(), angles.sin())


def rotate(x: Tensor, table: Rotary) -> Tensor:
    """Turn x [B, heads, L, D] by its positions' angles."""
    a, b = x.float().chunk(2, dim=-1)
    return (x.float() * table.cos + torch.cat([-b, a], dim=-1) * table.sin).to(x.dtype)


def additive(mask: Tensor) -> Tensor:
    """Boolean mask (True: may be seen) → what is added to attention scores."""
    return (1.0 - mask.to(torch.float32)) * MASKED


class GemmaAttention(nn.Module):
    """Grouped-query attention. The queries of one K/V head are stacked along the sequence, so K/V is never repeated."""

    def __init__(self, config: GemmaConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.num_heads, config.num_kv_heads
        self.q_proj = nn.Linear(config.width, config.num_heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.width, config.num_kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.width, config.num_kv_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.num_heads * config.head_dim, config.width, bias=False)

    def keys_values(self, x: Tensor, table: Rotary) -> tuple[Tensor, Tensor]:
        """x [B, S, W] → keys (rotated) and values [B, K, S, D]."""
        k, v = (split_heads(proj(x), self.kv_heads) for proj in (self.k_proj, self.v_proj))
        return rotate(k, table), v

    def forward(self, x: Tensor, table: Rotary, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Attend from x [B, S, W] to keys and values [B, K, T, D]; `bias` [B, 1 or S, T] is added to the scores."""
        batch, length, groups = x.shape[0], x.shape[1], self.heads // self.kv_heads
        q = rotate(split_heads(self.q_proj(x), self.heads), table)  # [B, heads, S, D]
        q = q.reshape(batch, self.kv_heads, groups * length, -1)
        if bias.shape[1] > 1:
            bias = bias.repeat(1, groups, 1)
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=bias[:, None].to(q.dtype))
        y = y.reshape(batch, self.heads, length, -1).transpose(1, 2).flatten(2)
        out: Tensor = self.o_proj(y)
        return out


class GemmaMlp(nn.Module):
    def __init__(self, config: GemmaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.mlp_dim, bias=False)
        self.up_proj = nn.Linear(config.width, config.mlp_dim, bias=False)
        self.down_proj = nn.Linear(config.mlp_dim, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x))
        return out


class GemmaLayer(nn.Module):
    def __init__(self, config: GemmaConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.width)
        self.self_attn = GemmaAttention(config)
        self.post_attention_layernorm = RMSNorm(config.width)
        self.mlp = GemmaMlp(config)

    def forward(
        self, x: Tensor, table: Rotary, bias: Tensor, past: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One layer on x [B, S, W], after `past` keys and values [B, K, L, D]. Returns x and its own keys, values."""
        y = self.input_layernorm(x)
        own_keys, own_values = self.self_attn.keys_values(y, table)
        keys, values = own_keys, own_values
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        x = x + self.self_attn(y, table, keys, values, bias)
        x = x + self.mlp(self.post_attention_layernorm(x))
        return x, own_keys, own_values


class Gemma(nn.Module):
    """A Gemma decoder without its language head; with `vocab`, it owns the token embedding."""

    def __init__(self, config: GemmaConfig, vocab: int = 0) -> None:
        super().__init__()
        self.config = config
        if vocab:
            self.embed_tokens = nn.Embedding(vocab, config.width)
            nn.init.normal_(self.embed_tokens.weight, std=config.width**-0.5)
        self.layers = nn.ModuleList(GemmaLayer(config) for _ in range(config.depth))
        self.norm = RMSNorm(config.width)

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens [B, T] → embeddings [B, T, W]: table rows times sqrt(width)."""
        rows: Tensor = self.embed_tokens(tokens)
        return rows * math.sqrt(self.config.width)

    def forward(
        self, x: Tensor, positions: Tensor, bias: Tensor, past: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, S, W] at `positions` [B, S] → normed hidden [B, S, W], its keys and values [depth, B, K, S, D].

        `past`: keys and values [depth, B, K, L, D] that x sees before its own; `bias` [B, 1 or S, L+S] is additive.
        """
        table = rotary(positions, self.config.head_dim)
        keys, values = [], []
        for i, layer in enumerate(self.layers):
            x, k, v = layer(x, table, bias, None if past is None else (past[0][i], past[1][i]))
            keys.append(k)
            values.append(v)
        return self.norm(x), torch.stack(keys), torch.stack(values)
