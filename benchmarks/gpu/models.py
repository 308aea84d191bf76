"""The policies that are timed: published sizes, random weights, and what a robot would show them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from edge_runtime.bundle_spec import (
    BinScheme,
    CameraSpec,
    FlowSpec,
    Head,
    Normalisation,
    PolicySpec,
    PromptSpec,
    TokenSpec,
    VectorSpec,
)
from export.checkpoint import Checkpoint
from export.image import Preprocess
from export.layouts.huggingface import BOS, TEMPLATE
from export.layouts.prismatic_files import EMPTY
from export.layouts.vectors import NO_STATE, NONE
from export.models import smolvla
from export.models.decoder import GEMMA, DecoderConfig
from export.models.openvla import OpenVlaConfig
from export.models.pi0 import Pi0Config
from export.models.prismatic import DINOV2
from export.models.prismatic import SIGLIP as OPENVLA_SIGLIP
from export.models.smolvla import SmolVlaConfig
from export.models.smolvlm import SMOLVLM
from export.models.vit import SIGLIP
from export.stored import Stored
from export.verify import Example, example

JOINTS, STEPS = 7, 10


@dataclass(frozen=True)
class Model:
    """One policy. `cameras`: with how many it is timed, in this order, each of `frame` pixels; `spec` has none."""

    name: str
    family: str
    config: Any
    image: Preprocess
    spec: PolicySpec
    cameras: tuple[int, ...]
    frame: tuple[int, int] = (480, 640)

    def checkpoint(self, cameras: int) -> Checkpoint:
        """What export would read of a checkpoint, but for the weights: nothing stores those."""
        missing = "mask" if isinstance(self.spec.head, FlowSpec) else "refuse"
        seen = tuple(CameraSpec(f"camera_{i}", *self.frame, missing=missing) for i in range(cameras))  # type: ignore[arg-type]
        spec = msgspec.structs.replace(self.spec, cameras=seen)
        return Checkpoint(self.family, "random weights", self.config, spec, self.image, Stored({}, ()), None)


def observations(spec: PolicySpec, vocab: int, count: int) -> Iterator[Example]:
    """Examples with all cameras, each with frames, state, prompt and noise of its own."""
    first = example(spec, vocab, 0)
    for seed in range(count):
        rng = np.random.default_rng(seed)
        frames = {c.name: rng.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in spec.cameras}
        noise = rng.standard_normal(first.noise.shape).astype(np.float32)
        yield replace(first, observation=replace(first.observation, frames=frames), noise=noise)


def _spec(head: Head, horizon: int, prompt: PromptSpec, padded: int) -> PolicySpec:
    """Of joints whose units are the model's own."""
    joints = VectorSpec(tuple(f"joint_{i}" for i in range(JOINTS)), ("rad",) * JOINTS, padded)
    normal = Normalisation("mean_std", (0.0,) * JOINTS, (1.0,) * JOINTS)
    return PolicySpec(
        cameras=(),
        state=joints,
        action=joints,
        horizon=horizon,
        dt_s=0.02,
        control_mode="absolute",
        head=head,
        prompt=prompt,
        state_normalisation=normal,
        action_normalisation=normal,
    )


def _pi0(name: str, text: int, adaptive: bool, cameras: tuple[int, ...]) -> Model:
    """openpi's pi0 (prompts of 48 tokens) and pi0.5 (200)."""
    expert = replace(GEMMA["gemma_300m"], adaptive=adaptive)
    config = Pi0Config(SIGLIP["so400m"], GEMMA["gemma_2b"], expert)
    prompt = PromptSpec("{instruction}\n", text, None, 0, vocab=config.vocab)
    head = FlowSpec(STEPS, 1.0, 0.0, ("keys", "values", "prefix_mask"))
    image = Preprocess(config.vision.image, "torch-bilinear", "centre")
    spec = _spec(head, config.horizon, prompt, config.action_padded)
    return Model(name, name, config, image, spec, cameras)


def _smolvla() -> Model:
    """SmolVLM2-500M, sixteen of its layers, as lerobot's smolvla_base."""
    vlm = SMOLVLM["SmolVLM2-500M-Video-Instruct"]
    language, expert = smolvla.decoders(vlm.language, 16, -1, 0.75)
    config = SmolVlaConfig(vlm.vision, language, expert, vlm.scale_factor, vlm.vocab)
    spec = _spec(
        FlowSpec(STEPS, 1.0, 0.0, config.read),
        config.horizon,
        PromptSpec("{instruction}\n", 48, None, 0, vocab=vlm.vocab),
        config.action_padded,
    )
    image = Preprocess(vlm.vision.image, "torch-bilinear", "top-left")
    return Model("smolvla", "smolvla", config, image, spec, (2,))


def _openvla() -> Model:
    """openvla-7b: Llama 2 7B, one camera, seven tokens; means and deviations are ImageNet's and SigLIP's."""
    language = DecoderConfig(
        width=4096,
        depth=32,
        mlp_dim=11008,
        num_heads=32,
        num_kv_heads=32,
        head_dim=128,
        activation="silu",
        norm_offset=0.0,
        embed_scale=False,
    )
    config = OpenVlaConfig(DINOV2, OPENVLA_SIGLIP, language, vocab=32064)
    prompt = PromptSpec(TEMPLATE, 96, BOS, 32000, end_id=EMPTY, vocab=config.vocab)
    one = _spec(TokenSpec(JOINTS, BinScheme()), 1, prompt, JOINTS)
    spec = msgspec.structs.replace(one, state=NO_STATE, state_normalisation=NONE)
    mean, std = ((0.485, 0.456, 0.406), (0.5, 0.5, 0.5)), ((0.229, 0.224, 0.225), (0.5, 0.5, 0.5))
    image = Preprocess(config.dino.image, "pil-bicubic", "stretch", mean=mean, std=std)
    return Model("openvla", "openvla", config, image, spec, (1,))


MODELS = {
    model.name: model
    for model in (
        _pi0("pi0", 48, adaptive=False, cameras=(2, 1, 3)),
        _smolvla(),
        _pi0("pi05", 200, adaptive=True, cameras=(2,)),
        _openvla(),
    )
}
"""In the order in which they are timed; the goal is about the first, with two cameras."""
