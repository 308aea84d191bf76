"""The models that are timed, of a few thousand numbers."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from benchmarks.gpu.models import MODELS, Model
from edge_runtime.bundle_spec import FlowSpec, PolicySpec
from export.image import Preprocess
from export.models.openvla import OpenVlaConfig
from export.models.smolvla import SmolVlaConfig
from tests.export import tiny

VISION = tiny.CONFIG.vision
TEXT = 7


def _spec(model: Model, horizon: int, padded: int, vocab: int) -> PolicySpec:
    spec = model.spec
    head = msgspec.structs.replace(spec.head, steps=3) if isinstance(spec.head, FlowSpec) else spec.head
    prompt = msgspec.structs.replace(spec.prompt, max_tokens=TEXT, vocab=vocab, end_id=None, bos_id=None, pad_id=0)
    state = msgspec.structs.replace(spec.state, padded=padded) if spec.state.names else spec.state
    action = msgspec.structs.replace(spec.action, padded=padded)
    return msgspec.structs.replace(spec, horizon=horizon, head=head, prompt=prompt, state=state, action=action)


def pi0(name: str = "pi0") -> Model:
    model = MODELS[name]
    config = replace(tiny.CONFIG, expert=replace(tiny.CONFIG.expert, adaptive=name == "pi05"), state_padded=9)
    spec = _spec(model, config.horizon, config.action_padded, config.vocab)
    image = Preprocess(VISION.image, "torch-bilinear", "centre")
    return replace(model, config=config, image=image, spec=spec, cameras=(2,))


def smolvla() -> Model:
    language, expert = tiny.CONFIG.language, replace(tiny.CONFIG.expert, norm_offset=0.0, activation="silu")
    config = SmolVlaConfig(VISION, replace(language, norm_offset=0.0, activation="silu"), expert, 3, 40, 5, 9, 9)
    spec = _spec(MODELS["smolvla"], 5, 9, 40)
    head = msgspec.structs.replace(spec.head, cache=config.read)
    image = Preprocess(VISION.image, "torch-bilinear", "top-left")
    return replace(MODELS["smolvla"], config=config, image=image, spec=msgspec.structs.replace(spec, head=head))


def openvla() -> Model:
    model = MODELS["openvla"]
    dino = replace(VISION, registers=2, layer_scale=True, final_norm=False, activation="gelu")
    siglip = replace(VISION, hidden=16, final_norm=False, activation="gelu")
    language = replace(tiny.CONFIG.language, norm_offset=0.0, activation="silu", embed_scale=False)
    config = OpenVlaConfig(dino, siglip, language, vocab=64, padding=8, bins=16)
    image = replace(model.image, size=VISION.image)
    return replace(model, config=config, image=image, spec=_spec(model, 1, 7, 64))


SMALL = {made.name: replace(made, frame=(20, 30)) for made in (pi0(), smolvla(), pi0("pi05"), openvla())}
