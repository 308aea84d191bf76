"""Vision transformers: SigLIP as the pi family and SmolVLA have it, and, with options, DINOv2 and SigLIP of OpenVLA.

Parameter names are those of transformers' SigLIP, so a checkpoint of that kind loads by prefix alone.
Shapes: N images, P patches, W hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.models.common import join_heads, need_positive, split_heads


@dataclass(frozen=True)
class VitConfig:
    """Sizes of a vision tower: square images of `image` pixels in patches of `patch`.

    `registers`: learned tokens beside the class token, which exists only with them; both are dropped at the end.
    `layer_scale`: each branch is multiplied by learned factors. `final_norm`: the last layer's output is normalised.
    """

    hidden: int
    layers: int
    heads: int
    mlp: int
    patch: int
    image: int
    registers: int = 0
    layer_scale: bool = False
    final_norm: bool = True
    activation: Literal["gelu_tanh", "gelu"] = "gelu_tanh"

    def __post_init__(self) -> None:
        need_positive(self, ("hidden", "layers", "heads", "mlp", "patch", "image"))
        if self.hidden % self.heads:
            raise ValueError(f"a hidden size of {self.hidden} does not divide into {self.heads} heads")
        if self.image % self.patch:
            raise ValueError(f"an image of {self.image} pixels does not divide into patches of {self.patch}")

    @property
    def patches(self) -> int:
        return (self.image // self.patch) ** 2


SIGLIP = {
    "so400m": VitConfig(hidden=1152, layers=27, heads=16, mlp=4304, patch=14, image=224),
    "smolvlm2-500m": VitConfig(hidden=768, layers=12, heads=12, mlp=3072, patch=16, image=512),
}


class VitAttention(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_proj = nn.Linear(config.hidden, config.hidden)
        self.k_proj = nn.Linear(config.hidden, config.hidden)
        self.v_proj = nn.Linear(config.hidden, config.hidden)
        self.out_proj = nn.Linear(config.hidden, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(proj(x), self.heads) for proj in (self.q_proj, self.k_proj, self.v_proj))
        out: Tensor = self.out_proj(join_heads(F.scaled_dot_product_attention(q, k, v)))
        return out


class VitMlp(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.approximate = "tanh" if config.activation == "gelu_tanh" else "none"
        self.fc1 = nn.Linear(config.hidden, config.mlp)
        self.fc2 = nn.Linear(config.mlp, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x), approximate=self.approximate))
        return out


class LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale_factor = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale_factor


class VitLayer(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden, eps=1e-6)
        self.self_attn = VitAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden, eps=1e-6)
        self.mlp = VitMlp(config)
        self.ls1, self.ls2 = (LayerScale(config.hidden) if config.layer_scale else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.self_attn(self.layer_norm1(x)))
        x = x + self.ls2(self.mlp(self.layer_norm2(x)))
        return x


class VitEmbeddings(nn.Module):
    """Patches with their positions, behind the class token and the registers, which have none."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(3, config.hidden, kernel_size=config.patch, stride=config.patch)
        self.position_embedding = nn.Embedding(config.patches, config.hidden)
        nn.init.normal_(self.position_embedding.weight, std=config.hidden**-0.5)
        if config.registers:
            self.cls_token = nn.Parameter(torch.randn(1, 1, config.hidden) * config.hidden**-0.5)
            self.reg_token = nn.Parameter(torch.randn(1, config.registers, config.hidden) * config.hidden**-0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        x: Tensor = patches + self.position_embedding.weight
        if hasattr(self, "cls_token"):
            first = torch.cat([self.cls_token, self.reg_token], dim=1)
            x = torch.cat([first.expand(x.shape[0], -1, -1), x], dim=1)
        return x


class VitEncoder(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(VitLayer(config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Vit(nn.Module):
    """The vision tower: pixels [N, 3, image, image] → patch features [N, P, W]."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.first = 1 + config.registers if config.registers else 0
        self.embeddings = VitEmbeddings(config)
        self.encoder = VitEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden, eps=1e-6) if config.final_norm else nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.post_layernorm(self.encoder(self.embeddings(pixels)))
        return out[:, self.first :]
