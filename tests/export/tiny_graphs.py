"""The tiny pi0 as its two graphs, with weights and without."""

from __future__ import annotations

import torch

from export.graphs import ModelGraph
from export.models.pi0 import Pi0
from tests.export import tiny


def pi0_graphs(model: Pi0) -> dict[str, ModelGraph]:
    """prefix and step of a tiny pi0 with two cameras and eight tokens."""
    c, cameras, text = tiny.CONFIG, 2, 8
    length = cameras * c.vision.patches + text
    cache = (c.expert.depth, 1, c.expert.num_kv_heads, length, c.expert.head_dim)
    seen = {
        "pixels": torch.zeros(1, cameras, 3, c.vision.image, c.vision.image),
        "camera_mask": torch.ones(1, cameras, dtype=torch.bool),
        "tokens": torch.zeros(1, text, dtype=torch.int64),
        "token_mask": torch.ones(1, text, dtype=torch.bool),
    }
    noisy = {
        **{name: torch.zeros(cache) for name in ("keys", "values")},
        "prefix_mask": torch.ones(1, length, dtype=torch.bool),
        "state": torch.zeros(1, c.state_padded),
        "x_t": torch.zeros(1, c.horizon, c.action_padded),
        "cond": torch.zeros(1, c.expert.width),
    }
    return {
        "prefix": ModelGraph(model, "prefix", seen, ("keys", "values", "prefix_mask")),
        "step": ModelGraph(model, "velocity", noisy, ("velocity",)),
    }


def pi0_meta() -> Pi0:
    """The tiny pi0 without weights."""
    with torch.device("meta"):
        return Pi0(tiny.CONFIG).eval()
