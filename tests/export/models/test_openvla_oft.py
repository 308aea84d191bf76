"""OpenVLA-OFT against its reference, and what it must be whatever its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from export.layouts.huggingface import read_openvla
from export.layouts.options import Options
from export.models.common import additive, positions_of
from export.models.openvla_oft import OpenVlaOft
from tests.export import tiny_prismatic as tiny

TOLERANCE = 2e-5
"""Absolute; what is compared reaches 5. Different kernels sum in another order."""


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    found = shared / "golden" / "a" / "openvla_oft"
    if not found.is_dir():
        pytest.skip(f"no golden set: {found} is not there")
    return found


@pytest.fixture(scope="module")
def io(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "io.safetensors")


@pytest.fixture(scope="module")
def golden(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> OpenVlaOft:
    tokenizer = tiny.tokenizer(tmp_path_factory.mktemp("words") / "tokenizer.json")
    options = Options(dims=folder / "dims.json", tokenizer=tokenizer)
    model = tiny.load(read_openvla(folder / "checkpoint", options))
    assert isinstance(model, OpenVlaOft)
    return model


def given(io: dict[str, Tensor], padding: int = 0) -> dict[str, Tensor]:
    """The reference adds its empty token (300 there) by itself."""
    pixels, tokens = io["in.pixel_values"], torch.cat([io["in.input_ids"], torch.tensor([[300]])], dim=1)
    inputs = {"pixels": pixels.reshape(1, 2, 6, *pixels.shape[2:]), "tokens": tokens, "token_mask": tokens >= 0}
    return {**tiny.padded(inputs, padding), "state": io["in.proprio_norm"][None].float()}


def near(found: Tensor, wanted: Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)


def test_golden_embeddings(golden: OpenVlaOft, io: dict[str, Tensor]) -> None:
    inputs = given(io)
    near(golden.projector(golden.features(inputs["pixels"])), io["mid.projected_patches"])
    near(golden.state_proj(inputs["state"])[:, None], io["mid.proprio_token"])
    near(golden.embed(**inputs)[0], io["mid.multimodal_embeddings"])


@pytest.mark.parametrize("padding", [0, 7])
def test_golden_hidden_states_keys_and_values(golden: OpenVlaOft, io: dict[str, Tensor], padding: int) -> None:
    x, mask = golden.embed(**given(io, padding))
    hidden, keys, values = golden.language(x, positions_of(mask), additive(mask)[:, None])
    near(hidden[:, mask[0]], io["mid.last_hidden"])
    near(golden.read(hidden, mask).flatten(), io["out.action_hidden_states"].flatten())
    for i, layer in ((0, "first"), (-1, "last")):
        near(keys[i][:, :, mask[0]], io[f"out.kv.{layer}.key"])
        near(values[i][:, :, mask[0]], io[f"out.kv.{layer}.value"])


@pytest.mark.parametrize("padding", [0, 7])
def test_golden_actions(golden: OpenVlaOft, io: dict[str, Tensor], padding: int) -> None:
    near(golden.act(**given(io, padding))[0], io["out.action_norm"])


def observed(cameras: int = 2) -> dict[str, Tensor]:
    state = torch.linspace(-1.0, 1.0, tiny.OFT.state_dims)[None]
    return {**tiny.observed(cameras, tokens=6), "state": state}


def test_padding_changes_nothing() -> None:
    model, inputs = tiny.oft(), observed()
    near(model.act(**tiny.padded(inputs, 5), state=inputs["state"]), model.act(**inputs))


def test_every_action_depends_on_everything() -> None:
    """The first action on the last word, where a causal model stops; and on either camera and the state."""
    model, inputs = tiny.oft(), observed()
    before = model.act(**inputs)
    for name, place in (("pixels", (0, 0)), ("pixels", (0, 1)), ("tokens", (0, 5)), ("state", (0, 0))):
        other = {**inputs, name: inputs[name].clone()}
        other[name][place] = 7 if name == "tokens" else 0.3
        assert (model.act(**other) - before).abs().amax(dim=(0, 2)).min() > 1e-4, name


def test_cameras_are_told_apart() -> None:
    model, inputs = tiny.oft(), observed()
    assert (model.act(**{**inputs, "pixels": inputs["pixels"].flip(1)}) - model.act(**inputs)).abs().max() > 1e-4


def test_a_model_without_a_state_has_no_token_for_it() -> None:
    model = tiny.oft(replace(tiny.OFT, state_dims=0))
    inputs = tiny.observed(cameras=1, tokens=6)
    x, mask = model.embed(**inputs)
    places = tiny.OFT.horizon * tiny.OFT.action_dims
    assert x.shape[1] == mask.shape[1] == model.config.patches + 6 + places + 1
    assert not hasattr(model, "state_proj")
    assert model.act(**inputs).shape == (1, tiny.OFT.horizon, tiny.OFT.action_dims)


def test_actions_are_places_of_zeros_before_the_stop_token() -> None:
    model, inputs = tiny.oft(), observed()
    x, mask = model.embed(**tiny.padded(inputs, 5), state=inputs["state"])
    assert mask[0].tolist() == [True] * (1 + 8 + 1 + 5) + [False] * 5 + [True] * 7
    assert not x[:, -7:-1].any()
    assert torch.equal(x[0, -1], model.language.embed_tokens.weight[2])


def test_each_action_is_read_one_place_before_its_own() -> None:
    model, inputs = tiny.oft(), observed()
    _, mask = model.embed(**tiny.padded(inputs, 5), state=inputs["state"])
    places = torch.arange(mask.shape[1], dtype=torch.float32)[None, :, None]
    assert model.read(places, mask).flatten().tolist() == [14, 20, 21, 22, 23, 24]


@pytest.mark.parametrize(
    ("change", "words"),
    [({"horizon": 0}, "horizon is 0"), ({"action_dims": 0}, "action_dims is 0"), ({"vocab": 2}, "stop")],
)
def test_impossible_sizes_are_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(tiny.OFT, **change)
