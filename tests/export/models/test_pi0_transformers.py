"""Our modules against an implementation that we did not write: transformers' PI0ForConditionalGeneration."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch

from export.models.pi0 import Pi0, published_name
from tests.export.tiny import CONFIG, model

IMAGE_TOKEN = CONFIG.vocab  # one past the table, as PaliGemma has it

NAMES = {
    "paligemma_with_expert.paligemma.model.": "model.vlm.",
    "paligemma_with_expert.gemma_expert.model.": "model.dit.",
    "state_proj.": "embed_action_time.state_proj.",
    "action_in_proj.": "embed_action_time.action_in_proj.",
    "action_time_mlp_in.": "embed_action_time.action_time_mlp_in.",
    "action_time_mlp_out.": "embed_action_time.action_time_mlp_out.",
}


def reference(pi0: Pi0) -> Any:
    """transformers' model with the weights of `pi0`; skips where it is not installed."""
    if "torchvision" not in sys.modules:  # a torchvision of another build breaks the import; nothing here uses it
        sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    if not hasattr(transformers, "PI0Config"):
        pytest.skip(f"transformers {transformers.__version__} has no PI0Config")
    c = CONFIG

    def gemma(sizes: Any) -> dict[str, Any]:
        return {
            "model_type": "gemma",
            "hidden_size": sizes.width,
            "num_hidden_layers": sizes.depth,
            "intermediate_size": sizes.mlp_dim,
            "num_attention_heads": sizes.num_heads,
            "num_key_value_heads": sizes.num_kv_heads,
            "head_dim": sizes.head_dim,
            "vocab_size": c.vocab,
            "pad_token_id": 0,
        }

    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": c.vision.hidden,
        "num_hidden_layers": c.vision.layers,
        "num_attention_heads": c.vision.heads,
        "intermediate_size": c.vision.mlp,
        "patch_size": c.vision.patch,
        "image_size": c.vision.image,
        "vision_use_head": False,
    }
    vlm = {
        "model_type": "paligemma",
        "text_config": gemma(c.language),
        "vision_config": vision,
        "projection_dim": c.language.width,
        "image_token_id": IMAGE_TOKEN,
    }
    config = transformers.PI0Config(
        vlm_config=vlm,
        dit_config=gemma(c.expert),
        chunk_size=c.horizon,
        max_state_dim=c.state_padded,
        max_action_dim=c.action_padded,
    )
    theirs = transformers.PI0ForConditionalGeneration(config).eval()
    weights = {}
    for name, tensor in pi0.state_dict().items():
        published = published_name(name)
        prefix = next((p for p in NAMES if published.startswith(p)), "")
        weights[NAMES.get(prefix, "") + published[len(prefix) :]] = tensor
    left = theirs.load_state_dict(weights, strict=False)
    assert left.unexpected_keys == []
    assert set(left.missing_keys) <= {"model.dit.embed_tokens.weight"}
    return theirs


@torch.no_grad()
@pytest.mark.parametrize("cameras", [1, 2])
def test_a_chunk_is_the_same(cameras: int) -> None:
    pi0 = model()
    theirs = reference(pi0)
    g = torch.Generator().manual_seed(3)
    size, patches = CONFIG.vision.image, CONFIG.vision.patches
    pixels = torch.rand(1, 2, 3, size, size, generator=g) * 2 - 1
    camera_mask = torch.arange(2)[None] < cameras
    tokens = torch.randint(4, CONFIG.vocab, (1, 6), generator=g)
    token_mask = torch.arange(6)[None] < 4
    state = torch.randn(1, CONFIG.state_padded, generator=g)
    noise = torch.randn(1, CONFIG.horizon, CONFIG.action_padded, generator=g)

    # theirs takes places for the cameras that are there, and float32 times: steps of 1/4 keep those exact
    images = torch.full((1, cameras * patches), IMAGE_TOKEN)
    wanted = theirs.sample_actions(
        state=state,
        input_ids=torch.cat([images, tokens], 1),
        attention_mask=torch.cat([torch.ones_like(images), token_mask.long()], 1),
        pixel_values=pixels,
        pixel_attention_mask=camera_mask,
        noise=noise.clone(),
        num_steps=4,
    )

    keys, values, mask = pi0.prefix(pixels, tokens, token_mask, camera_mask)
    x = noise
    for t in (1.0, 0.75, 0.5, 0.25):
        x = x - pi0.velocity(keys, values, mask, x, pi0.cond(torch.tensor([t])), state) / 4
    assert (wanted - noise).abs().max() > 0.1
    torch.testing.assert_close(x, wanted, rtol=0, atol=2e-5)
