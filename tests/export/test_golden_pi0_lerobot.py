"""From published files to the robot's actions: every stage of the exported bundle against lerobot's own outputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from edge_runtime.backends.ort import Engine
from edge_runtime.bundle import open_bundle
from edge_runtime.policies.base import Observation
from edge_runtime.policies.flow import Runner
from export.pipeline import export_checkpoint

TOLERANCE = 1e-4
Tensors = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def golden(shared: Path) -> Path:
    folder = shared / "golden" / "a" / "pi0_lerobot"
    if not folder.is_dir():
        pytest.skip(f"no golden set: {folder} is not there")
    return folder


@pytest.fixture(scope="module")
def io(golden: Path) -> Tensors:
    return load_file(golden / "io.safetensors")


@pytest.fixture(scope="module")
def runner(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    out = tmp_path_factory.mktemp("golden") / "bundle"
    tokenizer = golden / "tokenizer" / "tokenizer.json"
    export_checkpoint(golden / "checkpoint", out, dims=golden / "dims.json", tokenizer=tokenizer)
    return Runner(open_bundle(out), Engine())


@pytest.fixture(scope="module")
def velocities(runner: Runner, io: Tensors) -> Iterator[list[np.ndarray[Any, Any]]]:
    """Run the golden example once; the velocity of every step. Buffers keep what the last stage left."""
    step, seen = runner.graphs["step"], []
    run = step.run
    step.run = lambda: (run(), seen.append(step.outputs["velocity"].copy()))  # type: ignore[method-assign,assign,func-returns-value]
    frames = {name: io[f"in.image_u8.{name}"] for name in ("base", "wrist")}
    observation = Observation(frames, io["in.state_raw"], runner.prompt("pick up the red cube"))
    chunk = np.empty((6, 7), np.float32)
    runner.infer(observation, chunk, io["in.noise"][0])
    seen.append(chunk)
    yield seen
    step.run = run  # type: ignore[method-assign]


def near(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= TOLERANCE


def test_the_prompt(runner: Runner, io: Tensors) -> None:
    prompt = runner.prompt("pick up the red cube")
    assert prompt.tokens.tolist() == io["in.tokens"][0].tolist()
    assert prompt.mask.tolist() == io["in.token_mask"][0].tolist()


def test_the_images(runner: Runner, io: Tensors, velocities: object) -> None:
    near(runner.graphs["image"].outputs["pixels"], io["in.images"])


def test_the_state(runner: Runner, io: Tensors, velocities: object) -> None:
    near(runner.graphs["step"].inputs["state"], io["in.state_padded"])


def test_the_keys_and_values(runner: Runner, io: Tensors, velocities: object) -> None:
    prefix = runner.graphs["prefix"].outputs
    valid = prefix["prefix_mask"][0]
    assert valid.sum() == io["in.image_masks"].sum() * 9 + io["in.token_mask"].sum()
    for cache, golden in (("keys", "key"), ("values", "value")):
        for layer, which in ((0, "first"), (-1, "last")):
            near(prefix[cache][layer][:, :, valid], io[f"out.kv.{which}.{golden}"][:, :, valid])


def test_every_velocity(io: Tensors, velocities: list[np.ndarray[Any, Any]]) -> None:
    assert len(velocities) == 11
    near(velocities[0], io["out.velocity_step0"])
    for found, wanted in zip(velocities, io["out.velocities"], strict=False):
        near(found, wanted)


def test_the_actions(runner: Runner, io: Tensors, velocities: list[np.ndarray[Any, Any]]) -> None:
    near(runner.graphs["step"].inputs["x_t"], io["out.action_norm_padded"])
    near(velocities[-1], io["out.action"][0])


def test_the_robot_copies_no_keys(runner: Runner) -> None:
    """The step graph reads the prefix graph's buffers: they are no inputs of its own."""
    assert set(runner.graphs["step"].inputs) == {"state", "x_t", "cond"}
