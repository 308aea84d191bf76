"""From published files to the robot's actions: every stage of each exported bundle against its reference's own outputs.

The bundle is run as a user runs it, by `edge infer`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from edge_runtime import cli
from export.pipeline import export_checkpoint
from tests.export.golden import SHARED, Golden, Tensors, sets

ACTIONS = 1e-3
"""Largest error, as a part of the reference's largest action."""
STAGES = 1e-4
"""Largest error of anything on the way, as a part of its largest value."""
KINDS = (
    *("pi0_lerobot", "pi0_openpi", "pi05_lerobot", "pi05_openpi", "smolvla_lerobot"),
    *("openvla_hf", "openvla_oft", "pi0_fast_lerobot"),
)
PIXELS = {
    **dict.fromkeys(("pi0_lerobot", "pi05_lerobot", "pi0_fast_lerobot"), 5e-7),  # float32's last digits
    **dict.fromkeys(("smolvla_lerobot", "pi0_openpi", "pi05_openpi", "openvla_hf", "openvla_oft"), 0.0),
}
"""Largest pixel difference of each family, as a part of the range from black to white."""
FOUND = {f"{golden.folder.parent.name}/{golden.kind}": golden for golden in sets(SHARED)}
NAMES = sorted({*FOUND, *(f"a/{kind}" for kind in KINDS)})


@pytest.fixture(scope="module", params=NAMES)
def golden(request: pytest.FixtureRequest) -> Golden:
    if request.param not in FOUND:
        pytest.skip(f"no golden set: {SHARED / 'golden' / request.param} is not there")
    return FOUND[request.param]


@pytest.fixture(scope="module")
def bundle(golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(golden.kind)
    return export_checkpoint(golden.checkpoint, folder / "bundle", golden.options())


@pytest.fixture(scope="module")
def found(golden: Golden, bundle: Path) -> Tensors:
    return infer(golden, bundle)


def infer(golden: Golden, bundle: Path, *more: str) -> Tensors:
    """What `edge infer --intermediates` writes."""
    folder = bundle.parent
    observation, out = golden.write_observation(folder / "observation.safetensors"), folder / "actions.safetensors"
    words = ["infer", str(bundle), "--observation", str(observation), "-o", str(out), "--intermediates", *more]
    assert cli.main([*words, "--on-malformed", "pad", "--json", str(folder / "result.json")]) == 0
    found = load_file(out)
    assert np.array_equal(json.loads((folder / "result.json").read_text())["actions"], found["actions"].tolist())
    return found


def near(found: Any, wanted: Any, part: float) -> None:
    wanted = np.asarray(wanted, np.float64).reshape(found.shape)
    assert np.abs(found - wanted).max() <= part * max(1e-3, np.abs(wanted).max())


def test_the_actions(golden: Golden, found: Tensors) -> None:
    near(found["actions"], golden.io["out.action"], ACTIONS)
    near(found["actions_normalized"], golden.io["out.action_norm"], ACTIONS)


def test_the_images(golden: Golden, found: Tensors) -> None:
    """Frames become the reference's own pixels: in units of [0, 1], no further from them than `PIXELS` says."""
    io = golden.io
    wanted = io.get("in.images", io.get("in.pixel_values"))
    seen = io.get("in.image_masks", np.ones((1, found["pixels"].shape[1]), np.bool_))[0]
    wanted = wanted.reshape(1, len(seen), -1, *wanted.shape[-2:])[:, seen]
    assert PIXELS[golden.kind] <= 1 / 255
    scale = 2.0 if wanted.shape[2] == 3 else 1.0 / 0.225  # pixels are so many times [0, 1] at most
    assert np.abs(found["pixels"][:, : wanted.shape[1]] - wanted).max() <= PIXELS[golden.kind] * scale


def test_the_keys_and_values(golden: Golden, found: Tensors) -> None:
    io = golden.io
    if "keys" not in found:
        pytest.skip("the whole chunk comes out of one graph: nothing is cached")
    mask = found["prefix_mask"][0]
    for cache, name in (("keys", "key"), ("values", "value")):
        for layer, which in ((0, "first"), (-1, "last")):
            mine = found[cache][layer][:, :, : len(mask)][:, :, mask]
            theirs = io[f"out.kv.{which}.{name}"]
            near(mine, theirs[:, :, valid_of(io, theirs.shape[2])], STAGES)


def valid_of(io: Tensors, length: int) -> np.ndarray[Any, Any]:
    """Which positions of the reference's prefix count."""
    if "in.token_mask" not in io:
        return np.ones(length, np.bool_)
    masks, tokens = io["in.image_masks"][0], io["in.token_mask"][0]
    more = (length - len(tokens)) % len(masks)  # what stands behind the prompt: a state, a BOS
    patches = (length - len(tokens) - more) // len(masks)
    return np.concatenate([np.repeat(masks, patches), tokens, np.ones(more, np.bool_)])


def test_every_velocity(golden: Golden, found: Tensors) -> None:
    if "velocities" not in found:
        pytest.skip("no flow")
    near(found["velocity"], golden.io["out.velocity_step0"], STAGES)
    near(found["velocities"], golden.io["out.velocities"], STAGES)


def test_the_tokens(golden: Golden, found: Tensors) -> None:
    if "token_ids" not in found:
        pytest.skip("no tokens")
    wanted = golden.io["out.token_ids"].reshape(-1)
    assert found["token_ids"].tolist() == wanted.tolist()


def test_said_in_words_the_instruction_becomes_the_same_tokens_and_actions(golden: Golden, bundle: Path) -> None:
    instruction = golden.instruction
    if instruction is None:
        pytest.skip("the set gives tokens and no words")
    io, found = golden.io, infer(golden, bundle, "--instruction", instruction)
    ids = found["tokens"][found["token_mask"]]
    tokens = io.get("in.input_ids_used", io.get("in.tokens"))
    mask = io.get("in.token_mask", np.ones_like(tokens)).astype(np.bool_)
    assert ids.tolist() == tokens[mask].tolist()
    near(found["actions"], io["out.action"], ACTIONS)
