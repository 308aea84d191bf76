"""Chunks that go on from the running one, through the whole export: committed actions, and guidance."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from edge_runtime import cli
from edge_runtime.accuracy import Accuracy
from edge_runtime.backends import trt
from edge_runtime.backends.ort import Engine
from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.bundle_spec import FlowSpec
from edge_runtime.engines.compile import compile_bundle
from edge_runtime.policies.base import Ahead, Seam
from edge_runtime.policies.flow import Runner
from edge_runtime.policies.runners import runner
from edge_runtime.probes import read_probes
from edge_runtime.verify import answer
from export import layouts
from export.errors import CheckpointError, ExportError
from export.family import family
from export.graphs import CommittedGraph
from export.guide import GuideGraph, written_out
from export.judge import judge
from export.layouts.options import Options
from export.loading import bound, empty_model
from export.models.flow import flow_times
from export.observe import bundle_layers
from export.pipeline import export_checkpoint
from export.verify import Example, example
from export.weights import fill
from tests.edge_runtime import tiny_bundle
from tests.edge_runtime.engines.fakes import Machine
from tests.edge_runtime.policies.arithmetic import Parts, going_on_bundle, going_on_graphs
from tests.export import tiny, tiny_pi, tiny_smolvla

TRAINED, HORIZON = 2, tiny.CONFIG.horizon
FAMILIES = ("pi0", "pi05", "smolvla")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a pi0 that says of itself that it was trained with committed actions, by lerobot's key."""
    made = tiny.saved(tmp_path_factory.mktemp("tiny"))
    path = made / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rtc_training_max_delay": TRAINED}))
    return made


@pytest.fixture(scope="module")
def bundle(checkpoint: Path) -> Bundle:
    return open_bundle(export_checkpoint(checkpoint, checkpoint.parent / "bundle", Options(guided=True)))


def given(bundle: Bundle, committed: int, known: int = HORIZON - 1) -> Example:
    """A seeded observation of an arm that follows a chunk, which is not what the model would do."""
    found = example(bundle.spec, tiny.CONFIG.vocab, 3)
    rows = np.random.default_rng(7).standard_normal((HORIZON, 3)).astype(np.float32)
    return replace(found, observation=replace(found.observation, ahead=Ahead(rows, committed, known)))


def infer(policy: Runner, seen: Example) -> np.ndarray[Any, Any]:
    chunk = np.full((HORIZON, 3), np.nan, np.float32)
    policy.infer(seen.observation, chunk, seen.noise)
    return chunk


def alone(seen: Example) -> Example:
    return replace(seen, observation=replace(seen.observation, ahead=None))


@pytest.mark.parametrize("seam", ["none", "committed", "guided"])
@pytest.mark.parametrize("integrated", [True, False], ids=["integrated", "card"])
def test_a_gpu_goes_on_from_a_chunk_as_the_cpu_does(
    machine: Machine, bundle: Bundle, seam: Seam, integrated: bool
) -> None:
    """Every program of a policy, one after the other: with and without a prefix of its own, afresh and going on."""
    machine.install(integrated=integrated, memory_bytes=1 << 30)
    compile_bundle(bundle.path, rebuild=True)
    on_cpu, on_gpu = (
        Runner(bundle, backend, steps=3, seam=seam, prefix_every=2) for backend in (Engine(), trt.Engine())
    )
    seen = given(bundle, 1)
    for asked in (alone(seen), seen, given(bundle, 2, known=3), alone(seen), seen):
        wanted, found = infer(on_cpu, asked), infer(on_gpu, asked)
        assert found.tobytes() == wanted.tobytes()
        assert on_gpu.frames_fresh == on_cpu.frames_fresh
    assert np.abs(infer(on_gpu, seen) - infer(on_gpu, alone(seen))).max() > 1e-3 or seam == "none"


class InTorch:
    """The same inference written out in PyTorch, from the keys and values of the bundle's own prefix."""

    def __init__(self, policy: Runner, seen: Example) -> None:
        infer(policy, seen)
        outputs = policy.graphs["prefix"].outputs
        self.cache = [torch.from_numpy(outputs[name].copy()) for name in ("keys", "values", "prefix_mask")]
        self.state = torch.from_numpy(policy.graphs["step"].inputs["state"].copy())
        self.x = torch.from_numpy(seen.noise)[None].clone()
        self.model, self.spec = tiny.model(), policy.spec
        ahead = seen.observation.ahead
        self.target = torch.zeros_like(self.x)
        if ahead is not None:
            mean, std = (torch.tensor(x) for x in (self.spec.action_normalisation.a, self.spec.action_normalisation.b))
            self.target[0, :, :3] = (torch.from_numpy(ahead.actions) - mean) / (std + 1e-8)

    def velocity(self, x: Tensor, times: Tensor) -> Tensor:
        return self.model.velocity(*self.cache, x, self.model.cond(times), self.state)

    def actions(self, x: Tensor) -> np.ndarray[Any, Any]:
        mean, std = (torch.tensor(x) for x in (self.spec.action_normalisation.a, self.spec.action_normalisation.b))
        return (x[0, :, :3].detach() * std + mean).numpy()

    @torch.no_grad()
    def committed(self, rows: int) -> np.ndarray[Any, Any]:
        """Flow time is each row's own: 0 in the first rows, which stay as they are."""
        x, clean = self.x, torch.arange(HORIZON)[None] < rows
        x = torch.where(clean[..., None], self.target, x)
        for t in flow_times(4, "fraction"):
            v = self.velocity(x, torch.where(clean, 0.0, t))
            x = torch.where(clean[..., None], self.target, x - v / 4)
        return self.actions(x)

    def guided(self, committed: int, known: int) -> np.ndarray[Any, Any]:
        """The paper's algorithm, with τ = 1 - t and its velocity, which points the other way."""
        c = (known - torch.arange(HORIZON)).clamp(0) / (known - committed + 1)
        weight = torch.where(torch.arange(HORIZON) < committed, 1.0, c * torch.expm1(c) / (math.e - 1))
        mask = weight[None, :, None] * (torch.arange(9) < 3)
        a = self.x
        for k in range(4):
            tau = k / 4
            a = a.detach().requires_grad_()
            v = -self.velocity(a, torch.tensor([1 - tau]))
            foretold = a + (1 - tau) * v
            (g,) = torch.autograd.grad(foretold, a, ((self.target - foretold) * mask).detach())
            r2 = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
            a = a + (v + min(5.0, (1 - tau) / (tau * r2) if tau else math.inf) * g) / 4
        return self.actions(a)


def test_the_bundle_says_what_it_can_do(bundle: Bundle) -> None:
    head = bundle.spec.head
    assert isinstance(head, FlowSpec)
    assert head.committed == TRAINED
    assert list(bundle.manifest.graphs) == ["image", "prefix", "step", "guide"]
    assert list(bundle.manifest.costs) == ["image", "prefix", "step", "guide"]
    assert bundle.manifest.costs["guide"].flops > 1.9 * bundle.manifest.costs["step"].flops
    report = msgspec.json.decode((bundle.path / "accuracy.json").read_bytes(), type=Accuracy)
    assert {"step.velocity", "guide.velocity", "guide.correction"} < set(report.components)
    assert report.actions.observations == 4


def test_it_answers_its_probes_and_one_of_them_goes_on(bundle: Bundle, tmp_path: Path) -> None:
    afresh, going_on = read_probes(bundle)
    assert afresh.observation.ahead is None
    ahead = going_on.observation.ahead
    assert ahead is not None
    assert (ahead.committed, ahead.known, ahead.actions.shape) == (2, 4, (5, 3))
    for backend in ("ort", "torch"):
        assert cli.main(["verify", str(bundle.path), "--backend", backend]) == 0
    assert cli.main(["inspect", str(bundle.path), "--device", "orin-nx-16", "--json", str(tmp_path / "i.json")]) == 0
    assert json.loads((tmp_path / "i.json").read_text())["runs"] == {"image": 1, "prefix": 1, "step": 4, "guide": 0}


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_committed_actions_are_pytorchs(bundle: Bundle, rows: int) -> None:
    policy = Runner(bundle, Engine(), seam="committed")
    seen = given(bundle, rows)
    found, wanted = infer(policy, seen), InTorch(policy, seen).committed(rows)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    assert seen.observation.ahead is not None
    assert found[:rows].tobytes() == seen.observation.ahead.actions[:rows].tobytes()
    apart = np.abs(found - infer(policy, alone(seen)))[rows:].max()
    assert apart > 1e-3 if rows else apart == 0.0, "the open rows know of the committed ones"


def test_guided_actions_are_pytorchs(bundle: Bundle) -> None:
    policy = Runner(bundle, Engine(), seam="guided")
    seen = given(bundle, 2, 4)
    np.testing.assert_allclose(infer(policy, seen), InTorch(policy, seen).guided(2, 4), rtol=0, atol=1e-4)


def test_guidance_brings_known_rows_near(bundle: Bundle) -> None:
    policy = Runner(bundle, Engine(), seam="guided")
    seen = given(bundle, 2, 4)
    assert seen.observation.ahead is not None
    target = seen.observation.ahead.actions
    before, after = (np.abs(infer(policy, one) - target) for one in (alone(seen), seen))
    assert after[:2].mean() < 0.6 * before[:2].mean()
    assert after[2].mean() < before[2].mean()


def test_where_no_row_counts_there_is_no_correction(bundle: Bundle) -> None:
    policy = Runner(bundle, Engine(), seam="guided")
    seen = given(bundle, 0, 0)
    chunk = infer(policy, seen)
    assert (policy.graphs["guide"].outputs["correction"] == 0.0).all()
    np.testing.assert_allclose(chunk, infer(policy, alone(seen)), rtol=0, atol=1e-5)


# ── every family, without its files ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module", params=FAMILIES)
def step(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The family's step graph with its weights."""
    folder = tmp_path_factory.mktemp(request.param) / "c"
    saved = tiny_smolvla.saved if request.param == "smolvla" else lambda path: tiny_pi.lerobot(path, request.param)
    source = layouts.read(saved(folder), Options())
    model = empty_model(source)
    graph = family(source.family).graphs(model, source)["step"]
    fill(model, bound(source, model)).requires_grad_(False)
    return graph


def seeded(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(3)
    return {
        n: torch.ones_like(t) if t.dtype == torch.bool else torch.randn(t.shape, generator=g) for n, t in inputs.items()
    }


def test_the_written_out_product_is_autograds(step: Any) -> None:
    guide = GuideGraph(step)
    values = seeded(guide.inputs) | {"left": torch.tensor([-0.6])}
    wanted = guide(*values.values())
    with torch.no_grad():
        found = written_out(guide)(*values.values())
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    (velocity,) = step(*[values[name] for name in step.signature().inputs])
    torch.testing.assert_close(wanted[0], velocity, rtol=0, atol=1e-6)
    wrong = values["weight"] * (values["target"] - values["x_t"] + 0.6 * velocity)
    assert (wanted[1] - wrong).abs().max() > 1e-2, "the model's own part of the product counts"


@torch.no_grad()
def test_given_rows_have_the_clean_ends_time_and_no_velocity(step: Any) -> None:
    graph = CommittedGraph(step)
    names = list(graph.signature().inputs)
    assert names[-2:] == ["committed", "clean"]
    values = seeded(graph.signature().inputs)
    plain = {name: value for name, value in values.items() if name in step.signature().inputs}
    committed = torch.arange(tiny_pi.HORIZON)[None] < 2

    def run(committed: Tensor) -> Tensor:
        (found,) = graph(*{**values, "committed": committed}.values())
        return found

    torch.testing.assert_close(run(torch.zeros_like(committed)), step(*plain.values())[0], rtol=0, atol=1e-6)
    cond = torch.where(committed[..., None], values["clean"][:, None], plain["cond"][:, None])
    wanted = getattr(step.model, step.method)(**{**plain, "cond": cond})
    found = run(committed)
    torch.testing.assert_close(found[:, 2:], wanted[:, 2:], rtol=0, atol=1e-6)
    assert (found[:, :2] == 0.0).all()


# ── what a checkpoint or a person says ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("said", "wanted"), [(None, TRAINED), (3, 3), (0, 0)])
def test_how_many_actions_were_given_says_the_checkpoint_or_the_person(
    checkpoint: Path, said: int | None, wanted: int
) -> None:
    head = layouts.read(checkpoint, Options(committed=said)).spec.head
    assert isinstance(head, FlowSpec)
    assert head.committed == wanted


def test_of_an_openpi_checkpoint_the_person_says_it(tmp_path: Path) -> None:
    path = tiny_pi.openpi(tmp_path / "c")
    heads = [layouts.read(path, Options(committed=said)).spec.head for said in (None, 2)]
    assert [head.committed for head in heads] == [0, 2]  # type: ignore[union-attr]


def test_the_time_of_given_rows_is_a_constant_of_the_bundle(tmp_path: Path) -> None:
    source = layouts.read(tiny_pi.lerobot(tmp_path / "c", "pi05"), Options(committed=1))
    model = tiny_pi.model("pi05", tiny_pi.PI05)
    with torch.no_grad():
        found = family("pi05").constants(model, source)
        assert list(found) == ["cond.1", "cond.2", "cond.3", "cond.4", "cond.clean"]
        torch.testing.assert_close(found["cond.clean"], model.cond(torch.zeros(1)), rtol=0, atol=1e-6)  # type: ignore[operator]


@pytest.mark.parametrize("rows", [5, -1])
def test_a_chunk_has_open_actions(checkpoint: Path, tmp_path: Path, rows: int) -> None:
    with pytest.raises(CheckpointError, match=rf"spec\.head\.committed: {rows} of 5 actions") as caught:
        export_checkpoint(checkpoint, tmp_path / "bundle", Options(committed=rows))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("options", "name"), [({"committed": 2}, "--committed"), ({"guided": True}, "--guided")])
def test_token_policies_take_neither(tmp_path: Path, options: dict[str, Any], name: str) -> None:
    fast = tiny_pi.fast_tokenizer(tmp_path / "fast")
    path = tiny_pi.lerobot(tmp_path / "c", "pi0_fast")
    with pytest.raises(ExportError, match=rf"{name}: says nothing to a pi0_fast"):
        export_checkpoint(path, tmp_path / "bundle", Options(fast_tokenizer=fast, **options))


def test_saved_checkpoints_say_it_too(tmp_path: Path) -> None:
    from export.lerobot_save import save_lerobot

    for rows in (0, 2):
        spec = tiny.spec()
        spec = msgspec.structs.replace(spec, head=msgspec.structs.replace(spec.head, committed=rows))
        out = save_lerobot(tiny.model(), spec, tiny.tokenizer(tmp_path / f"{rows}.json"), tmp_path / str(rows))
        told = json.loads((out / "config.json").read_text())
        assert told.get("rtc_training_max_delay", "unsaid") == (rows or "unsaid")
        assert layouts.read(out, Options()).spec.head == spec.head


# ── a quantized one beside its original ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("committed", [0, 2])
def test_every_second_chunk_that_is_judged_goes_on(tmp_path: Path, committed: int) -> None:
    """From the original's own, one row further: what was row 1 is row 0 then."""
    made = going_on_bundle(tmp_path, committed)
    probes = [tiny_bundle.probe(made.spec, seed) for seed in range(3)]
    backends = [Parts(going_on_graphs(committed > 0)) for _ in range(2)]
    accuracy, answered = judge(made, made, *backends, probes, lambda part: None)
    assert (accuracy.verdict, accuracy.actions.max) == ("pass", 0.0)
    given = [one.observation.ahead for one in answered]
    assert [ahead is not None for ahead in given] == [False, committed > 0, False]
    if given[1] is not None:
        assert (given[1].committed, given[1].known) == (2, 2)
        np.testing.assert_array_equal(answered[1].actions[:2], given[1].actions[:2])
        afresh, _ = answer(runner(made, backends[0]), probes[1])
        np.testing.assert_array_equal(given[1].actions, afresh[[1, 2, 2]])


def test_the_guide_graph_is_left_as_it_is(bundle: Bundle) -> None:
    assert list(bundle_layers(bundle)) == ["prefix", "step"]
