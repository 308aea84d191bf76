"""Decoder-only language models: Gemma, Llama and SmolLM are rows of data over these layers, and so are action experts.

Parameter names are the published ones (transformers), so a checkpoint loads by prefix alone.
Shapes: B batch, S sequence, L what stands before it in the cache, W width, K key/value heads, D head_dim.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.models.common import Rotary, additive, join_heads, need_positive, rotary, rotate, split_heads


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes and kind of a decoder; the defaults are Gemma's.

    `norm_offset`: norms scale by weight + offset. `embed_scale`: token embeddings are multiplied by sqrt(width).
    `adaptive`: norms have no weights of their own, scale, shift and gate come from outside (adaRMS, pi0.5).
    """

    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    activation: Literal["gelu_tanh", "silu"] = "gelu_tanh"
    norm_offset: float = 1.0
    norm_eps: float = 1e-6
    embed_scale: bool = True
    rope_base: float = 10000.0
    adaptive: bool = False

    def __post_init__(self) -> None:
        need_positive(self, ("width", "depth", "mlp_dim", "num_heads", "num_kv_heads", "head_dim", "rope_base"))
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"{self.num_heads} heads must divide into {self.num_kv_heads}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim is {self.head_dim}, it must be even")


GEMMA = {
    "gemma_2b": DecoderConfig(width=2048, depth=18, mlp_dim=16384, num_heads=8, num_kv_heads=1, head_dim=256),
    "gemma_300m": DecoderConfig(width=1024, depth=18, mlp_dim=4096, num_heads=8, num_kv_heads=1, head_dim=256),
}


class RMSNorm(nn.Module):
    """x / rms(x) times weight + offset, computed in float32."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.eps, self.offset = config.norm_eps, config.norm_offset
        self.weight = nn.Parameter(torch.full((config.width,), 1.0 - config.norm_offset))

    def forward(self, x: Tensor) -> Tensor:
        return (_unit(x, self.eps) * (self.offset + self.weight.float())).to(x.dtype)


class AdaptiveNorm(nn.Module):
    """adaRMS: x / rms(x) · (1 + scale) + shift; scale, shift and gate [B, W] come from `dense` of a condition.

    They depend on flow time alone, so an export computes them once (`modulation`) and `dense` is in no graph.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.eps = config.norm_eps
        self.dense = nn.Linear(config.width, 3 * config.width)

    def modulation(self, cond: Tensor) -> Tensor:
        """cond [..., W] → [..., 3·W]: 1 + scale, shift, gate."""
        scale, shift, gate = self.dense(cond).chunk(3, dim=-1)
        return torch.cat([1.0 + scale, shift, gate], dim=-1)

    def forward(self, x: Tensor, modulation: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, S, W], modulation [B, 3·W] or [B, S, 3·W] → normed x, and the gate [B, 1 or S, W] of the branch that
        reads it."""
        weight, shift, gate = (modulation[:, None, :] if modulation.ndim == 2 else modulation).chunk(3, dim=-1)
        if weight.numel() == weight.shape[-1]:
            weight = weight.flatten()  # as `_unit` wants it
        return (_unit(x, self.eps) * weight + shift).to(x.dtype), gate


def _unit(x: Tensor, eps: float) -> Tensor:
    """x / rms(x), written as ONNX Runtime knows it: with a weight [W] that multiplies it, it becomes one kernel."""
    y = x.float()
    return y / torch.sqrt(y.square().mean(-1, keepdim=True) + eps)


class Attention(nn.Module):
    """Grouped-query attention. The queries of one K/V head are rows of one matrix, so K/V is never repeated.

    `kv_width` is the width that keys and values are projected from, where it is not the layer's own.
    """

    def __init__(self, config: DecoderConfig, kv_width: int | None = None) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.num_heads, config.num_kv_heads, config.head_dim
        kv = config.num_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.width, config.num_heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(kv_width or config.width, kv, bias=False)
        self.v_proj = nn.Linear(kv_width or config.width, kv, bias=False)
        self.o_proj = nn.Linear(config.num_heads * config.head_dim, config.width, bias=False)

    def queries(self, x: Tensor, table: Rotary) -> Tensor:
        """x [B, S, W] → rotated queries [B, S, heads·D]."""
        return self._rotated(self.q_proj(x), table)

    def keys_values(self, x: Tensor, table: Rotary) -> tuple[Tensor, Tensor]:
        """x [B, S, W] → rotated keys, and values [B, K, S, D]."""
        keys = self._rotated(self.k_proj(x), table)
        return split_heads(keys, self.kv_heads), split_heads(self.v_proj(x), self.kv_heads)

    def project(self, x: Tensor, table: Rotary) -> tuple[Tensor, Tensor, Tensor]:
        """`queries` and `keys_values` of the same x; what is rotated is rotated together."""
        width = self.heads * self.head_dim
        both = self._rotated(torch.cat([self.q_proj(x), self.k_proj(x)], dim=-1), table)
        keys, values = both[..., width:], self.v_proj(x)
        return both[..., :width], split_heads(keys, self.kv_heads), split_heads(values, self.kv_heads)

    def _rotated(self, x: Tensor, table: Rotary) -> Tensor:
        return rotate(x.reshape(*x.shape[:2], -1, self.head_dim), table).flatten(2)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Attend from queries [B, S, heads·D] to keys and values [B, K, T, D] → [B, S, W]; `bias` [B, 1 or S, T] is
        added to the scores."""
        groups = self.heads // self.kv_heads
        if bias.shape[1] > 1 and groups > 1:
            bias = bias[:, :, None].expand(-1, -1, groups, -1).flatten(1, 2)
        q = split_heads(queries, self.kv_heads)  # [B, K, S, groups·D]
        rows = q.reshape(*q.shape[:2], -1, self.head_dim)  # [B, K, S·groups, D]
        y = F.scaled_dot_product_attention(rows, keys, values, attn_mask=bias[:, None].to(q.dtype))
        out: Tensor = self.o_proj(join_heads(y.reshape(q.shape)))
        return out


class Mlp(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gelu = config.activation == "gelu_tanh"
        self.gate_proj = nn.Linear(config.width, config.mlp_dim, bias=False)
        self.up_proj = nn.Linear(config.width, config.mlp_dim, bias=False)
        self.down_proj = nn.Linear(config.mlp_dim, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate_proj(x)
        gate = F.gelu(gate, approximate="tanh") if self.gelu else F.silu(gate)
        out: Tensor = self.down_proj(gate * self.up_proj(x))
        return out


class DecoderLayer(nn.Module):
    """One layer. `kv_width`: keys and values are not its own but projected from a cache of that width."""

    def __init__(self, config: DecoderConfig, kv_width: int | None = None) -> None:
        super().__init__()
        norm = AdaptiveNorm if config.adaptive else RMSNorm
        self.input_layernorm = norm(config)
        self.self_attn = Attention(config, kv_width)
        self.post_attention_layernorm = norm(config)
        self.mlp = Mlp(config)

    def forward(
        self,
        x: Tensor,
        table: Rotary,
        bias: Tensor,
        past: tuple[Tensor, Tensor] | None = None,
        modulation: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One layer on x [B, S, W], after `past` keys and values [B, K, L, D]. Returns x and its own keys, values.

        `modulation` [2, B, 3·W], or [2, B, S, 3·W] of every token's own, is what adaptive norms need.
        """
        y, gate = _norm(self.input_layernorm, x, None if modulation is None else modulation[0])
        queries, own_keys, own_values = self.self_attn.project(y, table)
        keys, values = own_keys, own_values
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        x = x + _gated(self.self_attn(queries, keys, values, bias), gate)
        y, gate = _norm(self.post_attention_layernorm, x, None if modulation is None else modulation[1])
        x = x + _gated(self.mlp(y), gate)
        return x, own_keys, own_values

    def keys_values(self, x: Tensor, table: Rotary) -> tuple[Tensor, Tensor]:
        """Keys and values [B, K, S, D] of x [B, S, W], which are all that is needed of the last layer of a prefix."""
        found: tuple[Tensor, Tensor] = self.self_attn.keys_values(self.input_layernorm(x), table)
        return found

    def cross(self, x: Tensor, table: Rotary, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """One layer on x [B, S, W] that sees nothing but keys and values [B, K, L, D] made elsewhere."""
        queries = self.self_attn.queries(self.input_layernorm(x), table)
        x = x + self.self_attn(queries, keys, values, bias)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


def _norm(norm: nn.Module, x: Tensor, modulation: Tensor | None) -> tuple[Tensor, Tensor | None]:
    if modulation is None:
        return norm(x), None
    y, gate = norm(x, modulation)
    return y, gate


def _gated(y: Tensor, gate: Tensor | None) -> Tensor:
    return y if gate is None else y * gate


class Decoder(nn.Module):
    """A decoder without its language head; with `vocab`, it owns the token embedding."""

    def __init__(self, config: DecoderConfig, vocab: int = 0) -> None:
        super().__init__()
        self.config = config
        if vocab:
            self.embed_tokens = nn.Embedding(vocab, config.width)
            nn.init.normal_(self.embed_tokens.weight, std=config.width**-0.5)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.depth))
        self.norm = AdaptiveNorm(config) if config.adaptive else RMSNorm(config)

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens [B, T] → embeddings [B, T, W]: table rows, times sqrt(width) where the model has it so."""
        rows: Tensor = self.embed_tokens(tokens)
        return rows * math.sqrt(self.config.width) if self.config.embed_scale else rows

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        bias: Tensor,
        past: tuple[Tensor, Tensor] | None = None,
        modulation: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, S, W] at `positions` [B, S] → normed hidden [B, S, W], its keys and values [depth, B, K, S, D].

        `past`: keys and values [depth, B, K, L, D] that x sees before its own; `bias` [B, 1 or S, L+S] is additive;
        `modulation` [2·depth + 1, B, 3·W] (or [..., B, S, 3·W]) is what adaptive norms need, in the order they stand.
        """
        table = rotary(positions, self.config.head_dim, self.config.rope_base)
        keys, values = [], []
        for i, layer in enumerate(self.layers):
            own = None if modulation is None else modulation[2 * i : 2 * i + 2]
            x, k, v = layer(x, table, bias, None if past is None else (past[0][i], past[1][i]), own)
            keys.append(k)
            values.append(v)
        x, _ = _norm(self.norm, x, None if modulation is None else modulation[-1])
        return x, torch.stack(keys), torch.stack(values)

    def cache(self, x: Tensor, positions: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values alone, as `forward` has them: of the last layer nothing else is computed."""
        table = rotary(positions, self.config.head_dim, self.config.rope_base)
        *layers, last = (layer for layer in self.layers if isinstance(layer, DecoderLayer))
        found = []
        for layer in layers:
            x, *own = layer(x, table, bias)
            found.append(own)
        keys, values = zip(*found, last.keys_values(x, table), strict=True)
        return torch.stack(keys), torch.stack(values)

    def one_more(
        self, token: Tensor, cache_mask: Tensor, keys: Tensor, values: Tensor, offset: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One token after a cache. token int64 [B, 1], cache_mask bool [B, L], keys, values [depth, B, K, L, D] →
        hidden [B, W], the token's own keys and values [depth, B, K, 1, D].

        It sees itself and the cache's valid slots; its position is their number, plus `offset`.
        """
        position = cache_mask.to(torch.float32).sum(dim=1, keepdim=True) + offset
        visible = torch.cat([cache_mask, torch.ones_like(cache_mask[:, :1])], dim=1)
        hidden, new_keys, new_values = self(self.embed(token), position, additive(visible)[:, None, :], (keys, values))
        return hidden[:, 0], new_keys, new_values

    def modulation(self, cond: Tensor) -> Tensor:
        """What the adaptive norms of `forward` need for conditions `cond` [..., W] → [2·depth + 1, ..., 3·W]."""
        return torch.stack([norm.modulation(cond) for norm in self.modules() if isinstance(norm, AdaptiveNorm)])
