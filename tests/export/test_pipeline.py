"""A seeded checkpoint through the whole export: what the bundle says, what it computes, what is left when it fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_runtime.backends.ort import Engine
from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.policies.base import Observation
from edge_runtime.policies.flow import Runner
from export import pipeline
from export.errors import CheckpointError, ExportError
from export.graphs import ImageGraph
from export.onnx_file import Written, check_onnx, write_onnx
from export.pipeline import export_checkpoint
from export.verify import Example, in_torch
from tests.export import tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.saved(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def bundle(checkpoint: Path) -> Bundle:
    stages: list[tuple[str, int, int]] = []
    out = checkpoint.parent / "bundle"
    assert export_checkpoint(checkpoint, out, progress=lambda *stage: stages.append(stage)) == out
    assert [s[1] for s in stages] == list(range(7))
    assert {s[2] for s in stages} == {7}
    return open_bundle(out)


@pytest.fixture(scope="module")
def runner(bundle: Bundle) -> Runner:
    return Runner(bundle, Engine())


def test_the_manifest_says_what_the_checkpoint_says(bundle: Bundle) -> None:
    manifest, spec = bundle.manifest, bundle.spec
    assert [(c.name, c.height, c.width) for c in spec.cameras] == [("base", 20, 30), ("wrist", 33, 21)]
    assert spec.state.names == ("state.0", "state.1", "state.2")
    assert (spec.state.padded, spec.action.padded) == (8, 9)
    assert spec.action.names == ("dx", "dy", "grip")
    assert spec.action.units == ("rad", "rad", "rad")
    assert (spec.horizon, spec.dt_s, spec.flow.steps) == (5, 1 / 20, 4)
    assert spec.state_normalisation.a == (0.5, -1.0, 2.0)
    assert spec.state_normalisation.eps_in == 1e-8
    assert spec.action_normalisation.eps_out == 0.0
    assert manifest.source.rate == "checkpoint"
    assert (spec.prompt.bos_id, spec.prompt.pad_id, spec.prompt.max_tokens) == (2, 0, 12)
    assert set(manifest.precision.values()) == {"float32"}
    assert manifest.parameters["prefix"] > manifest.parameters["step"] > 1000


def test_the_accuracy_report_is_in_the_bundle(bundle: Bundle) -> None:
    report = json.loads((bundle.path / "accuracy.json").read_text())
    assert report["verdict"] == report["end_to_end"]["verdict"] == "pass"
    assert set(report["components"]) == {"pixels", "keys", "values", "velocity", "actions_normalised"}
    assert report["end_to_end"]["unit"] == "rad"
    assert report["end_to_end"]["cosine"] > 0.9999999
    assert report["end_to_end"]["max_error"] < 1e-5


@pytest.mark.parametrize("cameras", [("base", "wrist"), ("base",), ("wrist",), ()])
def test_the_robot_computes_what_pytorch_computes(runner: Runner, checkpoint: Path, cameras: tuple[str, ...]) -> None:
    source, given = tiny.checkpoint(checkpoint.parent), observation(runner, cameras)
    image = ImageGraph(source.cameras, source.config.vision.image)
    wanted = in_torch(tiny.model(), image, source, given)
    found = np.empty((5, 3), np.float32)
    runner.infer(given.observation, found, given.noise)
    np.testing.assert_allclose(found, wanted.actions, rtol=0, atol=1e-5)


def test_a_missing_camera_and_another_instruction_change_the_actions(runner: Runner) -> None:
    chunks = {}
    for cameras in (("base", "wrist"), ("base",)):
        for words in ("pick red", "up"):
            given = observation(runner, cameras, words)
            out = np.empty((5, 3), np.float32)
            runner.infer(given.observation, out, given.noise)
            chunks[cameras, words] = out
    made = list(chunks.values())
    assert all(np.abs(a - b).max() > 1e-3 for i, a in enumerate(made) for b in made[:i])


def observation(runner: Runner, cameras: tuple[str, ...], words: str = "pick red") -> Example:
    rng = np.random.default_rng(5)
    frames = {c.name: rng.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in runner.spec.cameras}
    seen = Observation({c: frames[c] for c in cameras}, np.array([0.1, -0.7, 3.0], np.float32), runner.prompt(words))
    return Example(seen, rng.standard_normal((5, 9), np.float32))


def test_the_same_checkpoint_gives_the_same_files(checkpoint: Path, bundle: Bundle, tmp_path: Path) -> None:
    again = open_bundle(export_checkpoint(checkpoint, tmp_path / "again"))
    assert again.manifest.files.keys() == bundle.manifest.files.keys()
    assert again.manifest.files == bundle.manifest.files


def test_another_camera_and_rate_and_an_older_bundle_in_the_way(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "manifest.json").write_text("an older bundle")
    (out / "engines").mkdir()
    export_checkpoint(checkpoint, out, cameras={"base": (48, 64)}, fps=50.0)
    made = open_bundle(out)
    assert [(c.name, c.height, c.width) for c in made.spec.cameras] == [("base", 48, 64), ("wrist", 33, 21)]
    assert (made.spec.dt_s, made.manifest.source.rate) == (1 / 50, "given")
    assert Runner(made, Engine()).frames["base"].shape == (48, 64, 3)
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_rate_that_nobody_said_is_assumed(tmp_path: Path) -> None:
    spec, rate = pipeline._spec(tiny.checkpoint(tmp_path, fps=None), None)
    assert (spec.dt_s, rate) == (1 / 30, "assumed")


class Wrong(torch.nn.Module):
    """A graph whose outputs are changed on the way out."""

    def __init__(self, module: torch.nn.Module, change: Any) -> None:
        super().__init__()
        self.module, self.change = module, change

    def forward(self, *inputs: torch.Tensor) -> Any:
        outputs = self.module(*inputs)
        return self.change(outputs) if isinstance(outputs, torch.Tensor) else (self.change(outputs[0]), *outputs[1:])


@pytest.mark.parametrize(
    ("component", "change", "words"),
    [
        ("image", lambda x: x * 1.01, "pixels: the bundle is"),
        ("prefix", lambda x: x + 1e-2, "keys: the bundle is"),
        ("step", lambda x: x * (1 + 1e-3), "velocity: the bundle is"),
        ("step", lambda x: (x - x) / (x - x), "velocity: the bundle is inf"),
    ],
)
def test_a_graph_that_computes_something_else_is_never_handed_over(
    checkpoint: Path,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    component: str,
    change: Any,
    words: str,
) -> None:
    def write(module: torch.nn.Module, signature: Any, path: Path) -> Written:
        if path.stem == component:
            return write_onnx(Wrong(module, change), signature, path)
        shutil.copyfile(bundle.graph(path.stem), path)
        return check_onnx(path)

    monkeypatch.setattr(pipeline, "write_onnx", write)
    with pytest.raises(ExportError, match=words):
        export_checkpoint(checkpoint, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_something_else_in_the_way_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match=r"exists and has no manifest\.json"):
        export_checkpoint(checkpoint, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cameras": {"bose": (4, 4)}}, "camera bose: the checkpoint has base, wrist"),
        ({"cameras": {"base": (0, 4)}}, "camera base: 4×0 is not"),
        ({"fps": 0.0}, r"fps: 0\.0 is not a rate"),
        ({"tokenizer": Path("/nowhere/tokenizer.json")}, "tokenizer.json: no such file"),
        ({"dims": Path("/nowhere/dims.json")}, "dims.json: cannot be read"),
    ],
)
def test_impossible_wishes(checkpoint: Path, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises((ExportError, CheckpointError), match=words) as caught:
        export_checkpoint(checkpoint, tmp_path / "bundle", **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
