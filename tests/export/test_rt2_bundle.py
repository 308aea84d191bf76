"""The whole way of the RT-2 recipe: a directory → bundle → the runtime's own policy, against transformers by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from edge_runtime.backends import ort
from edge_runtime.bundle import open_bundle
from edge_runtime.policies import tokens
from edge_runtime.policies.base import Observation
from export.pipeline import export_checkpoint
from tests.export.tiny_rt2 import (
    ACTIONS,
    BINS,
    ID,
    IMAGE,
    INTEGERS,
    RARE_IDS,
    VISION,
    reference,
    speaking,
    transformers,
    write,
)

CAMERAS = {"front": [20, 30], "wrist": [21, 33]}
LOW, HIGH = np.array(ACTIONS["low"]), np.array(ACTIONS["high"])
NO_STATE = np.zeros(0, np.float32)


def frames(seed: int) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, 256, (*size, 3), np.uint8) for name, size in CAMERAS.items()}


def bundle(folder: Path, checkpoint: Path) -> tokens.Runner:
    export_checkpoint(checkpoint, folder / "bundle")
    return tokens.Runner(open_bundle(folder / "bundle"), ort.Engine())


def ask(policy: tokens.Runner, seed: int, instruction: str) -> np.ndarray[Any, Any]:
    actions = np.empty((policy.spec.horizon, policy.spec.action.dims), np.float32)
    policy.infer(Observation(frames(seed), NO_STATE, policy.prompt(instruction)), actions)
    return actions


def processed(seed: int) -> torch.Tensor:
    """Every frame as PaliGemma's own image processor has it, [cameras, 3, size, size]."""
    half, size = [0.5] * 3, {"height": VISION.image, "width": VISION.image}
    processor = transformers().SiglipImageProcessorPil(size=size, image_mean=half, image_std=half)
    return torch.cat([processor(frame, return_tensors="pt")["pixel_values"] for frame in frames(seed).values()])


def pixels(policy: tokens.Runner) -> torch.Tensor:
    return torch.from_numpy(policy.graphs["image"].outputs["pixels"][0])


@pytest.fixture(scope="module")
def theirs() -> Any:
    return reference()


@pytest.fixture(scope="module")
def ours(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> tokens.Runner:
    folder = tmp_path_factory.mktemp("tokens")
    write(folder / "checkpoint", horizon=2, cameras=CAMERAS)
    theirs.save_pretrained(folder / "checkpoint")
    return bundle(folder, folder / "checkpoint")


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_an_instruction_and_frames_become_their_actions(ours: tokens.Runner, theirs: Any, seed: int) -> None:
    instruction = "pick up the red cup"
    actions = ask(ours, seed, instruction)

    text = Tokenizer.from_file(str(ours._bundle.path / "tokenizer.json"))
    text.no_truncation()
    text.no_padding()
    prompt = "<image>" * (len(CAMERAS) * VISION.patches) + "<bos>" + instruction + "\n"
    ids = torch.tensor([text.encode(prompt, add_special_tokens=False).ids])
    assert (ids == IMAGE).sum() == len(CAMERAS) * VISION.patches
    written = theirs.generate(
        input_ids=ids,
        pixel_values=processed(seed),
        attention_mask=torch.ones_like(ids),
        token_type_ids=torch.zeros_like(ids),
        prefix_allowed_tokens_fn=lambda *_: list(RARE_IDS),
        max_new_tokens=2 * 3,
        do_sample=False,
    )[0, ids.shape[1] :].tolist()
    assert ours.tokens.tolist() == written
    bins = np.array([RARE_IDS.index(token) for token in written]).reshape(2, 3)
    assert ours.terminated == bins[:, 0].any()
    wanted = LOW + (bins[:, 1:] + 0.5) / BINS * (HIGH - LOW)
    np.testing.assert_allclose(actions, wanted, rtol=0, atol=1e-6)
    assert len(set(written)) > 1


def test_pixels_are_their_image_processors(ours: tokens.Runner) -> None:
    """To a grey level (2/255 of a range of -1 to 1); here every one is the same."""
    largest = 0.0
    for seed in range(3):
        ask(ours, seed, "go")
        largest = max(largest, float((pixels(ours) - processed(seed)).abs().max()) / 2)
    assert largest <= 1e-6


def test_integers_in_words(tmp_path: Path) -> None:
    """A model that says "0 1 25": the task goes on, and the centres of bins 1 and 25."""
    said = ("0", "▁1", "▁", "25", "<eos>")
    checkpoint = write(tmp_path / "checkpoint", speaking(said), cameras=CAMERAS, **INTEGERS)
    policy = bundle(tmp_path, checkpoint)
    actions = ask(policy, 0, "pick up")
    assert policy.tokens[: policy.count].tolist() == [ID[word] for word in said]
    np.testing.assert_allclose(actions[0], LOW + (np.array([1, 25]) + 0.5) / BINS * (HIGH - LOW), rtol=0, atol=1e-6)
    assert not policy.terminated
