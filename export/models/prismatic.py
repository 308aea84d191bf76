"""Prismatic: a Llama that sees images through DINOv2 and SigLIP side by side. The backbone of OpenVLA and OpenVLA-OFT.

Paper: https://arxiv.org/abs/2402.07865; reference: openvla `prismatic/extern/hf/modeling_prismatic.py`.
Shapes: B batch, C cameras, P patches a camera, S side of the image, T text tokens, W width, L = C·P + T or more.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.models.common import need_positive
from export.models.decoder import Decoder, DecoderConfig
from export.models.vit import Vit, VitConfig
from export.weights import Source

DINOV2 = VitConfig(
    hidden=1024,
    layers=23,
    heads=16,
    mlp=4096,
    patch=14,
    image=224,
    registers=4,
    layer_scale=True,
    final_norm=False,
    activation="gelu",
)
"""timm's ViT-L/14 with registers without its 24th block: features are what the second-to-last one leaves, unnormed."""
SIGLIP = VitConfig(hidden=1152, layers=26, heads=16, mlp=4304, patch=14, image=224, final_norm=False, activation="gelu")
"""timm's So400m/14 without its 27th block."""
CHANNELS = 6
"""Each image twice, normalised for either tower."""
FEATURIZERS = ("featurizer", "fused_featurizer")
"""The towers, as attributes here and below `vision_backbone.` in a checkpoint."""


@dataclass(frozen=True)
class PrismaticConfig:
    """Sizes. `dino` and `siglip` see the same patches; `vocab` counts the rows of the token table."""

    dino: VitConfig
    siglip: VitConfig
    language: DecoderConfig
    vocab: int

    def __post_init__(self) -> None:
        need_positive(self, ("vocab",))
        if self.dino.image != self.siglip.image or self.dino.patches != self.siglip.patches:
            raise ValueError("the two vision towers do not see the same patches")

    @property
    def patches(self) -> int:
        """Patches of one camera."""
        return self.dino.patches


class Projector(nn.Module):
    """Features of both towers [B, N, F] → the language model's width [B, N, W]."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, 4 * features)
        self.fc2 = nn.Linear(4 * features, width)
        self.fc3 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc3(F.gelu(self.fc2(F.gelu(self.fc1(x)))))
        return out


class Prismatic(nn.Module):
    """Both vision towers, their projector and the language model, without a head."""

    def __init__(self, config: PrismaticConfig) -> None:
        super().__init__()
        self.featurizer = Vit(config.dino)
        self.fused_featurizer = Vit(config.siglip)
        self.projector = Projector(config.dino.hidden + config.siglip.hidden, config.language.width)
        self.language = Decoder(config.language, config.vocab)

    def features(self, pixels: Tensor) -> Tensor:
        """pixels [B, C, 6, S, S] (three channels for DINOv2, three for SigLIP) → [B, C·P, F], image by image."""
        images = pixels.flatten(0, 1)
        both = torch.cat([self.featurizer(images[:, :3]), self.fused_featurizer(images[:, 3:])], dim=-1)
        return both.reshape(pixels.shape[0], -1, both.shape[-1])

    def sequence(
        self, pixels: Tensor, text: Tensor, token_mask: Tensor, extra: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """BOS, patches, `extra` [B, N, W], the rest of the prompt, whose embeddings are `text` [B, T, W].

        Returns embeddings [B, L, W] and mask bool [B, L]; of `token_mask` bool [B, T] the padding is at the end.
        """
        seen = self.projector(self.features(pixels))
        if extra is not None:
            seen = torch.cat([seen, extra], dim=1)
        there = torch.ones_like(seen[:, :, 0], dtype=torch.bool)
        return (
            torch.cat([text[:, :1], seen, text[:, 1:]], dim=1),
            torch.cat([token_mask[:, :1], there, token_mask[:, 1:]], dim=1),
        )


_RENAMED = {
    "embeddings.patch_embedding": "patch_embed.proj",
    "embeddings.position_embedding.weight": "pos_embed",
    "embeddings.": "",
    "encoder.layers.": "blocks.",
    ".layer_norm": ".norm",
    ".self_attn.out_proj": ".attn.proj",
}
"""Part of a name in our towers → in timm's."""
_LAYER = r"norm[12]|attn\.(qkv|proj)|mlp\.fc[12]"
_POOL = r"attn_pool\.(latent|(q|kv|proj|norm|mlp\.fc[12])\.(weight|bias))"
_UNUSED = re.compile(
    rf"vision_backbone\.(fused_)?featurizer\.(blocks\.\d+\.(({_LAYER})\.(weight|bias)|ls[12]\.scale_factor)"
    rf"|norm\.(weight|bias)|{_POOL})"
    r"|language_model\.model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"
)


def source(name: str, config: PrismaticConfig) -> Source:
    """Where a parameter of `Prismatic` stands in a published checkpoint."""
    for tower, sizes in zip(FEATURIZERS, (config.dino, config.siglip), strict=True):
        if name.startswith(tower + "."):
            return _tower_source(f"vision_backbone.{tower}.", name.removeprefix(tower + "."), sizes)
    if name.startswith("language."):
        return Source("language_model.model." + name.removeprefix("language."))
    return Source(name)


def _tower_source(prefix: str, name: str, sizes: VitConfig) -> Source:
    """timm keeps query, key and value as one matrix, and positions as [1, P, hidden]."""
    fused = re.fullmatch(r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", name)
    if fused is not None:
        layer, part, leaf = fused.groups()
        first = "qkv".index(part) * sizes.hidden
        return Source(f"{prefix}blocks.{layer}.attn.qkv.{leaf}", rows=slice(first, first + sizes.hidden))
    for ours, theirs in _RENAMED.items():
        name = name.replace(ours, theirs)
    return Source(prefix + name, reshape=(sizes.patches, sizes.hidden) if name == "pos_embed" else None)


def unused(name: str) -> bool:
    """What a published checkpoint stores and nothing reads: each tower's last block, norm and pooling.

    Which block is the last one is not in its name: `stored_layers` tells whether there are as many as the sizes say.
    """
    return _UNUSED.fullmatch(name) is not None


def stored_layers(tower: str, names: Collection[str]) -> int:
    """How many blocks of `tower`, one of `FEATURIZERS`, stand among stored `names`."""
    block = re.compile(rf"vision_backbone\.{tower}\.blocks\.(\d+)\.")
    return len({found[1] for name in names if (found := block.match(name))})
