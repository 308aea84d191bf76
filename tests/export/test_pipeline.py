"""A seeded checkpoint through the whole export: what the bundle says, what it computes, what is left when it fails."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from edge_runtime import cli
from edge_runtime.accuracy import FLOAT32_GATE, Accuracy
from edge_runtime.backends.ort import Engine
from edge_runtime.bundle import Bundle, open_bundle, seal
from edge_runtime.policies.base import Observation
from edge_runtime.policies.flow import Runner
from edge_runtime.probes import read_probes, write_probes
from export import layouts, pipeline
from export.errors import CheckpointError, ExportError
from export.image import ImageGraph
from export.layouts.options import Options
from export.models.flow import flow_times
from export.onnx_file import Signature, Written, check_onnx, write_onnx
from export.pipeline import export_checkpoint
from export.verify import Example
from export.weights import Weights
from tests.export import tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.saved(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def bundle(checkpoint: Path) -> Bundle:
    told: list[tuple[str, float]] = []
    out = checkpoint.parent / "bundle"
    assert export_checkpoint(checkpoint, out, progress=lambda *now: told.append(now)) == out
    stages = list(dict.fromkeys(stage for stage, _ in told))
    assert stages == ["checkpoint", "constants", "image", "prefix", "step", "verification", "seal", "done"]
    parts = [part for _, part in told]
    assert parts == sorted(parts)
    assert (parts[0], parts[-1]) == (0.0, 1.0)
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
    assert (spec.horizon, spec.dt_s) == (5, 1 / 20)
    assert spec.head == tiny.spec().head
    assert spec.state_normalisation.a == (0.5, -1.0, 2.0)
    assert spec.state_normalisation.eps_in == 1e-8
    assert spec.action_normalisation.eps_out == 0.0
    assert manifest.source.rate == "checkpoint"
    assert (spec.prompt.bos_id, spec.prompt.pad_id, spec.prompt.max_tokens) == (2, 0, 12)
    assert {cost.precision for cost in manifest.costs.values()} == {"float32"}
    assert manifest.costs["prefix"].parameters > manifest.costs["step"].parameters > 1000
    assert manifest.costs["step"].flops > 2 * manifest.costs["step"].parameters


def test_the_accuracy_report_is_in_the_bundle(bundle: Bundle) -> None:
    report = msgspec.json.decode((bundle.path / "accuracy.json").read_bytes(), type=Accuracy)
    assert report.verdict == report.actions.verdict == bundle.manifest.verdict == "pass"
    outputs = {"image.pixels", "prefix.keys", "prefix.values", "prefix.prefix_mask", "step.velocity"}
    assert set(report.components) == outputs
    assert report.components["step.velocity"].cosine > 0.9999999
    assert (report.reference, report.observations) == (f"PyTorch {torch.__version__} float32", "2 seeded observations")
    assert (report.actions.unit, report.actions.observations, report.actions.gate) == ("rad", 2, FLOAT32_GATE)
    assert report.actions.max < 1e-5
    assert report.actions.tokens_same is None


def test_the_bundle_answers_its_own_probes(bundle: Bundle, checkpoint: Path) -> None:
    """One, the seed that took all flow steps; its answer is PyTorch's."""
    (probe,) = read_probes(bundle)
    assert list(probe.observation.frames) == ["base", "wrist"]
    np.testing.assert_allclose(
        probe.actions, in_torch(checkpoint, Example(probe.observation, probe.noise)), rtol=0, atol=1e-5
    )
    for backend in ("ort", "torch"):
        assert cli.main(["verify", str(bundle.path), "--backend", backend]) == 0


def test_a_bundle_of_other_weights_does_not(bundle: Bundle, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle.path, tmp_path / "copy")
    (probe,) = read_probes(bundle)
    write_probes(copy / bundle.manifest.probes, [replace(probe, actions=probe.actions + np.float32(0.01))])
    seal(copy, bundle.manifest)
    assert cli.main(["verify", str(copy)]) == 1


@pytest.mark.parametrize("cameras", [("base", "wrist"), ("base",), ("wrist",), ()])
def test_the_robot_computes_what_pytorch_computes(runner: Runner, checkpoint: Path, cameras: tuple[str, ...]) -> None:
    given = observation(runner, cameras)
    found = np.empty((5, 3), np.float32)
    runner.infer(given.observation, found, given.noise)
    np.testing.assert_allclose(found, in_torch(checkpoint, given), rtol=0, atol=1e-5)


@torch.no_grad()
def in_torch(checkpoint: Path, given: Example) -> np.ndarray[Any, Any]:
    """The same inference written out: frames, prefix, Euler steps and both normalisations, in PyTorch alone."""
    source, model, seen = layouts.read(checkpoint, Options()), tiny.model(), given.observation
    spec = source.spec
    shown = [c.name in seen.frames for c in spec.cameras]
    frames = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in spec.cameras} | dict(seen.frames)
    image = ImageGraph({c.name: (c.height, c.width) for c in spec.cameras}, source.image)
    pixels = image(*(torch.from_numpy(frame) for frame in frames.values()))
    text = [torch.from_numpy(x)[None] for x in (seen.prompt.tokens, seen.prompt.mask)]
    cache = model.prefix(pixels, *text, torch.tensor([shown]))
    mean, std = (torch.tensor(x) for x in (spec.state_normalisation.a, spec.state_normalisation.b))
    state = torch.zeros(1, spec.state.padded)
    state[0, :3] = (torch.from_numpy(seen.state) - mean) / (std + 1e-8)
    x = torch.from_numpy(given.noise)[None]
    for t in flow_times(4, "fraction"):
        x = x - model.velocity(*cache, x, model.cond(t[None]), state) / 4
    mean, std = (torch.tensor(x) for x in (spec.action_normalisation.a, spec.action_normalisation.b))
    actions: np.ndarray[Any, Any] = (x[0, :, :3] * std + mean).numpy()
    return actions


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
    export_checkpoint(checkpoint, out, Options(cameras={"base": (48, 64)}, fps=50.0, steps=2, max_tokens=16))
    made = open_bundle(out)
    assert [(c.name, c.height, c.width) for c in made.spec.cameras] == [("base", 48, 64), ("wrist", 33, 21)]
    assert (made.spec.dt_s, made.manifest.source.rate) == (1 / 50, "given")
    assert (made.spec.head.steps, made.spec.prompt.max_tokens) == (2, 16)  # type: ignore[union-attr]
    assert Runner(made, Engine()).frames["base"].shape == (48, 64, 3)
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_rate_that_nobody_said_is_assumed(checkpoint: Path, tmp_path: Path) -> None:
    dims = json.loads((checkpoint / "dims.json").read_text())
    del dims["fps"]
    (tmp_path / "dims.json").write_text(json.dumps(dims))
    source = layouts.read(checkpoint, Options(dims=tmp_path / "dims.json"))
    assert (source.spec.dt_s, source.rate) == (1 / 30, "assumed")


class Wrong(torch.nn.Module):
    """A graph whose outputs are changed on the way out."""

    def __init__(self, module: torch.nn.Module, change: Any) -> None:
        super().__init__()
        self.module, self.change = module, change

    def forward(self, *inputs: torch.Tensor) -> Any:
        outputs = self.module(*inputs)
        return self.change(outputs) if isinstance(outputs, torch.Tensor) else (self.change(outputs[0]), *outputs[1:])

    def weights(self, weights: Weights) -> Weights:
        return {f"module.{name}": read for name, read in weights.items()}


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
    def write(module: torch.nn.Module, signature: Signature, path: Path, weights: Weights) -> Written:
        if path.stem == component:
            wrong = Wrong(module, change)
            return write_onnx(wrong, signature, path, wrong.weights(weights))
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
        ({"fps": float("nan")}, r"fps: nan is not a rate"),
        ({"tokenizer": Path("/nowhere/tokenizer.json")}, "tokenizer.json: no such file"),
        ({"dims": Path("/nowhere/dims.json")}, "dims.json: cannot be read"),
    ],
)
def test_impossible_wishes(checkpoint: Path, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises((ExportError, CheckpointError), match=words) as caught:
        export_checkpoint(checkpoint, tmp_path / "bundle", Options(**options))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
