"""PaliGemma: a Gemma that sees images and text alike. The backbone of the pi family and of the RT-2 recipe.

Shapes: B batch, C cameras, P patches a camera, T text tokens, L = C·P + T, W width, K key/value heads, D head_dim.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.models.common import additive, positions_of
from export.models.decoder import Decoder
from export.models.vit import Vit


class PaliGemma(nn.Module):
    """SigLIP, a projector and a Gemma. `Decoder.embed` scales text; images go in as the projector leaves them."""

    vision: Vit
    projector: nn.Linear
    language: Decoder

    def embed_prefix(
        self, pixels: Tensor, tokens: Tensor, token_mask: Tensor, camera_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Images, then text. pixels [B, C, 3, S, S] in [-1, 1], tokens int64 [B, T], token_mask bool [B, T],
        camera_mask bool [B, C] (None: every camera counts) → embeddings [B, L, W], mask bool [B, L]."""
        patches = self.projector(self.vision(pixels.flatten(0, 1)))  # [B·C, P, W]
        count = patches.shape[1]
        patches = patches.reshape(pixels.shape[0], -1, patches.shape[-1])  # [B, C·P, W]
        if camera_mask is None:
            camera_mask = torch.ones(pixels.shape[:2], dtype=torch.bool, device=pixels.device)
        patch_mask = camera_mask[:, :, None].expand(-1, -1, count).flatten(1)
        embeddings = torch.cat([patches, self.language.embed(tokens).to(patches.dtype)], dim=1)
        return embeddings, torch.cat([patch_mask, token_mask], dim=1)

    def backbone(
        self, pixels: Tensor, tokens: Tensor, token_mask: Tensor, camera_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Every token sees every valid one. Inputs as `embed_prefix`.

        Returns hidden [B, L, W], keys (rotated) and values [depth, B, K, L, D], mask bool [B, L]. What stands at a
        masked position means nothing and is never read; such positions do not advance the count.
        """
        embeddings, mask = self.embed_prefix(pixels, tokens, token_mask, camera_mask)
        hidden, keys, values = self.language(embeddings, positions_of(mask), additive(mask)[:, None, :])
        return hidden, keys, values, mask
