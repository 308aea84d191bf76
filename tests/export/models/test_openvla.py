"""OpenVLA against its reference, and what it must be whatever its weights: causal, deaf to padding, cached rightly."""

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
from export.models.decoder import DecoderConfig
from export.models.openvla import OpenVla, OpenVlaConfig
from export.models.prismatic import DINOV2, SIGLIP
from tests.export import tiny_prismatic as tiny

TOLERANCE = 2e-5
"""Absolute; what is compared reaches 10. Different kernels sum in another order."""


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    found = shared / "golden" / "a" / "openvla_hf"
    if not found.is_dir():
        pytest.skip(f"no golden set: {found} is not there")
    return found


@pytest.fixture(scope="module")
def io(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "io.safetensors")


@pytest.fixture(scope="module")
def golden(folder: Path) -> OpenVla:
    model = tiny.load(read_openvla(folder / "checkpoint", Options(dims=folder / "dims.json")))
    assert isinstance(model, OpenVla)
    return model


def given(io: dict[str, Tensor]) -> dict[str, Tensor]:
    tokens = io["in.input_ids_used"]
    return {"pixels": io["in.pixel_values"][:, None], "tokens": tokens, "token_mask": tokens >= 0}


def generate(model: OpenVla, inputs: dict[str, Tensor], count: int) -> tuple[list[Tensor], list[int]]:
    """Greedily, with room for all tokens from the start, as the runtime does it: logits and tokens."""
    logits, keys, values, mask = model.prefill(**inputs)
    first = mask.shape[1]
    keys, values = (torch.nn.functional.pad(x, (0, 0, 0, count)) for x in (keys, values))
    mask = torch.nn.functional.pad(mask, (0, count))
    seen = [logits]
    tokens = [model.config.tokens[int(logits.argmax())]]
    for slot in range(first, first + count - 1):
        logits, new_keys, new_values = model.decode(torch.tensor([[tokens[-1]]]), mask, keys, values)
        keys[:, :, :, slot : slot + 1], values[:, :, :, slot : slot + 1], mask[:, slot] = new_keys, new_values, True
        seen.append(logits)
        tokens.append(model.config.tokens[int(logits.argmax())])
    return seen, tokens


def near(found: Tensor, wanted: Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)


def test_golden_vision(golden: OpenVla, io: dict[str, Tensor]) -> None:
    features = golden.features(given(io)["pixels"])
    near(features, io["mid.vision_features"])
    near(golden.projector(features), io["mid.projected_patches"])


def test_golden_sequence_and_keys_and_values(golden: OpenVla, io: dict[str, Tensor]) -> None:
    inputs = given(io)
    text = golden.language.embed(inputs["tokens"])
    near(golden.sequence(inputs["pixels"], text, inputs["token_mask"])[0], io["mid.multimodal_embeddings"])
    _, keys, values, mask = golden.prefill(**inputs)
    assert mask.all()
    for i, layer in ((0, "first"), (-1, "last")):
        near(keys[i], io[f"out.kv.{layer}.key"])
        near(values[i], io[f"out.kv.{layer}.value"])


@pytest.mark.parametrize("padding", [0, 6])
def test_golden_logits_and_tokens(golden: OpenVla, io: dict[str, Tensor], padding: int) -> None:
    wanted, tokens = io["out.logits"], golden.config.tokens
    logits, found = generate(golden, tiny.padded(given(io), padding), len(wanted))
    near(torch.cat(logits), wanted[:, tokens.start : tokens.stop])
    assert found == io["out.token_ids"].tolist()


def test_golden_restricted_head_chooses_what_the_full_one_does(golden: OpenVla, io: dict[str, Tensor]) -> None:
    _, found = generate(golden, given(io), len(io["out.logits"]))
    assert found == io["out.logits"].argmax(dim=1).tolist()


def test_golden_bins(golden: OpenVla, io: dict[str, Tensor]) -> None:
    values, tokens = golden.config.values(), golden.config.tokens
    meant = [float(values[tokens.index(int(token))]) for token in io["out.token_ids"]]
    near(torch.tensor(meant), io["out.action_norm"].float(), 1e-7)


def test_padding_changes_nothing() -> None:
    model, inputs = tiny.openvla(), tiny.observed(cameras=1, tokens=6)
    logits, keys, values, mask = model.prefill(**inputs)
    more = model.prefill(**tiny.padded(inputs, 5))
    near(more[0], logits)
    near(more[1][:, :, :, more[3][0]], keys)
    near(more[2][:, :, :, more[3][0]], values)
    assert more[3].sum() == mask.sum() == mask.shape[1]


def test_a_decoded_token_is_as_if_the_prompt_had_ended_in_it() -> None:
    model, inputs = tiny.openvla(), tiny.observed(cameras=1, tokens=6)
    short = {**inputs, "tokens": inputs["tokens"][:, :-1], "token_mask": inputs["token_mask"][:, :-1]}
    logits, keys, values, _ = model.prefill(**inputs)
    _, past_keys, past_values, past_mask = model.prefill(**tiny.padded(short, 3))
    found = model.decode(inputs["tokens"][:, -1:], past_mask, past_keys, past_values)
    near(found[0], logits)
    near(found[1], keys[:, :, :, -1:])
    near(found[2], values[:, :, :, -1:])


def test_nothing_sees_what_comes_later() -> None:
    model, inputs = tiny.openvla(), tiny.observed(cameras=1, tokens=6)
    _, keys, values, _ = model.prefill(**inputs)
    inputs["tokens"] = inputs["tokens"].clone()
    inputs["tokens"][0, 4] = inputs["tokens"][0, 4] % 30 + 4
    _, other_keys, other_values, _ = model.prefill(**inputs)
    place = model.config.patches + 4
    for before, after in ((keys, other_keys), (values, other_values)):
        assert torch.equal(before[:, :, :, :place], after[:, :, :, :place])
        assert (before - after)[-1, :, :, place:].abs().amax(dim=(0, 1, 3)).min() > 1e-3


def test_the_image_stands_behind_the_first_token() -> None:
    model, inputs = tiny.openvla(), tiny.observed(cameras=1, tokens=6)
    before = model.prefill(**inputs)[1][0, 0, 0]
    inputs["pixels"] = inputs["pixels"] * 0.5
    moved = (model.prefill(**inputs)[1][0, 0, 0] - before).abs().amax(dim=1) > 1e-3
    assert moved.tolist() == [False] + [True] * model.config.patches + [False] * 5


def test_bins_have_one_centre_less_than_tokens() -> None:
    config = replace(tiny.CONFIG, vocab=40, padding=8, bins=4)
    assert list(config.tokens) == [28, 29, 30, 31]
    near(config.values(), torch.tensor([2 / 3, 2 / 3, 0.0, -2 / 3]), 1e-7)


def test_published_sizes_make_the_published_number_of_parameters() -> None:
    """7.541 B: the model, and what its checkpoint stores that no action depends on."""
    text = DecoderConfig(4096, 32, 11008, 32, 32, 128, activation="silu", norm_offset=0.0, embed_scale=False)
    with torch.device("meta"):
        model = OpenVla(OpenVlaConfig(DINOV2, SIGLIP, text, 32064))
    used = sum(p.numel() for p in model.parameters())
    blocks = [p for vit in (model.featurizer, model.fused_featurizer) for p in vit.encoder.layers[0].parameters()]
    w, mlp = SIGLIP.hidden, SIGLIP.mlp
    pool = (w + 4 * w * (w + 1)) + 2 * w + (2 * w * mlp + w + mlp)
    norms = 2 * (DINOV2.hidden + SIGLIP.hidden)
    unread = sum(p.numel() for p in blocks) + pool + norms + (32064 - 256) * 4096
    assert round((used + unread) / 1e6) == 7541


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bins": 80}, "80 bins and 8 rows of padding do not fit"),
        ({"bins": 1}, "1 bins"),
        ({"vocab": 0}, "vocab is 0"),
        ({"siglip": replace(tiny.SIGLIP_TINY, image=42)}, "do not see the same patches"),
    ],
)
def test_impossible_sizes_are_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(tiny.CONFIG, **change)
