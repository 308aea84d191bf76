"""The demo policy's sizes: pi0's own classes with small numbers."""

from __future__ import annotations

from benchmarks.demo.data import IMAGE, PATCH
from benchmarks.demo.teacher import HORIZON
from export.models.decoder import DecoderConfig
from export.models.pi0 import Pi0Config
from export.models.vit import VitConfig

PADDED = 32


def config(vocab: int) -> Pi0Config:
    """The demo policy's configuration for a tokenizer of `vocab` tokens."""
    return Pi0Config(
        vision=VitConfig(hidden=128, layers=4, heads=4, mlp=512, patch=PATCH, image=IMAGE),
        language=DecoderConfig(width=128, depth=5, mlp_dim=384, num_heads=4, num_kv_heads=1, head_dim=64),
        expert=DecoderConfig(width=128, depth=5, mlp_dim=384, num_heads=4, num_kv_heads=1, head_dim=64),
        vocab=vocab,
        horizon=HORIZON,
        state_padded=PADDED,
        action_padded=PADDED,
    )
