"""A bundle answers its own probes: what passes, and everything that is a fail and not an error."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_runtime import cli, plugins
from edge_runtime.accuracy import FLOAT32_GATE, QUANTIZED_GATE, ActionErrors
from edge_runtime.bundle import Bundle, open_bundle, seal
from edge_runtime.bundle_spec import Quantization
from edge_runtime.errors import BundleError
from edge_runtime.policies.runners import runner
from edge_runtime.probes import Probe, write_probes
from edge_runtime.verify import answer, check, gate_of, steady, text
from tests.conftest import ROOT
from tests.edge_runtime import tiny_bundle
from tests.edge_runtime.policies import token_bundle
from tests.edge_runtime.policies.arithmetic import (
    Arithmetic,
    Array,
    Buffers,
    Parts,
    flow_bundle,
    flow_graphs,
    regression_bundle,
    regression_graphs,
    token_graphs,
)

Graphs = dict[str, Arithmetic]
SAID = [100, 104, 102, 101, 103, 100]
MADE = Quantization(
    target="jetpack6-orin",
    origin="f" * 64,
    parts={"expert": "int8"},
    floats={"expert": "fp32"},
    ranges="max",
    block=128,
    kept=0,
    table="layers.json",
)


def flow(folder: Path) -> Bundle:
    return flow_bundle(folder)


def flow_parts() -> Graphs:
    """Smaller velocities than the arithmetic's own, so that float32 tells small errors."""
    return changed(flow_graphs(), "step", "velocity", lambda out, _: np.divide(out, 1024.0, out=out))


def tokens(folder: Path) -> Bundle:
    return token_bundle.bins(folder)


def token_parts() -> Graphs:
    """The same tokens whatever it sees, and all logits a little higher with brighter pixels."""
    graphs = token_graphs(range(100, 105), SAID)
    image = graphs["image"]
    graphs["image"] = Arithmetic(image.inputs, image.outputs, _brightness)  # type: ignore[arg-type]
    return changed(graphs, "prefill", "logits", lambda out, given: np.add(out, given["pixels"] / 1024.0, out=out))


def _brightness(given: Buffers, out: Buffers) -> None:
    out["pixels"][:] = given["image.base"].mean()


def changed(graphs: Graphs, name: str, output: str, change: Callable[[Array, Buffers], Any]) -> Graphs:
    """`graphs`, but that `change` is called with that output, in place, and the inputs after every run."""
    graph = graphs[name]
    compute = graph._compute

    def both(given: Buffers, out: Buffers) -> None:
        compute(given, out)
        change(out[output], given)

    graph._compute = both
    return graphs


@dataclass
class Kind:
    """A head: its bundle, its graphs as they should be, and the output that its actions come from."""

    bundle: Callable[[Path], Bundle]
    graphs: Callable[[], Graphs]
    last: tuple[str, str]


FLOW = Kind(flow, flow_parts, ("step", "velocity"))
REGRESSION = Kind(regression_bundle, regression_graphs, ("model", "actions"))
TOKENS = Kind(tokens, token_parts, ("prefill", "logits"))
KINDS = pytest.mark.parametrize("kind", [FLOW, REGRESSION, TOKENS], ids=["flow", "regression", "tokens"])


def sealed(folder: Path, kind: Kind, count: int = 2, reference: Graphs | None = None, **manifest: Any) -> Bundle:
    """A bundle with probes that its own graphs, or those of `reference`, answered."""
    bundle = kind.bundle(folder)
    policy = runner(bundle, Parts(reference or kind.graphs()), on_malformed="pad")
    probes = []
    for seed in range(count):
        probe = tiny_bundle.probe(bundle.spec, seed)
        actions, written = answer(policy, probe)
        probes.append(replace(probe, actions=actions, written=written))
    write_probes(bundle.path / bundle.manifest.probes, probes)
    (bundle.path / MADE.table).write_bytes(b"{}")
    seal(bundle.path, msgspec.structs.replace(bundle.manifest, **manifest))
    return open_bundle(bundle.path)


def spoiled(kind: Kind, change: Callable[[Array], Any]) -> Parts:
    return Parts(changed(kind.graphs(), *kind.last, lambda out, _: change(out)))


@KINDS
def test_a_bundle_that_answers_the_same_passes(tmp_path: Path, kind: Kind) -> None:
    told: list[float] = []
    found = check(sealed(tmp_path, kind), Parts(kind.graphs()), told.append)
    assert (found.verdict, found.fault, found.observations) == ("pass", "", 2)
    assert (found.mean, found.max, found.max_share) == (0.0, 0.0, 0.0)
    assert found.tokens_same == (1.0 if kind is TOKENS else None)
    assert found.gate == FLOAT32_GATE
    assert told == sorted(told)
    assert (told[0], told[-1] < 1.0) == (0.0, True)


@pytest.mark.parametrize("kind", [FLOW, REGRESSION], ids=["flow", "regression"])
def test_actions_beyond_the_gate_are_a_fail(tmp_path: Path, kind: Kind) -> None:
    """Of dimension a, whose range is 8 (normalised: 4), 0.02 is a share of 0.005."""
    found = check(sealed(tmp_path, kind), spoiled(kind, lambda out: np.add(out, 0.02, out=out)))
    assert (found.verdict, found.fault) == ("fail", "")
    assert found.max_share == pytest.approx(0.005, rel=1e-3)


def test_a_quantized_bundle_has_a_wider_gate(tmp_path: Path) -> None:
    bundle = sealed(tmp_path, FLOW, quantization=MADE)
    assert gate_of(bundle.manifest) == QUANTIZED_GATE
    assert check(bundle, spoiled(FLOW, lambda out: np.add(out, 0.02, out=out))).verdict == "pass"
    assert check(bundle, spoiled(FLOW, lambda out: np.add(out, 0.05, out=out))).verdict == "fail"


def test_other_tokens_are_a_fail(tmp_path: Path) -> None:
    """One bin was written in place of another, by both answers."""
    bundle = sealed(tmp_path, TOKENS)

    def prefer(out: Array) -> None:
        out[0, 3] = 2.0

    found = check(bundle, spoiled(TOKENS, prefer))
    assert (found.verdict, found.tokens_same) == ("fail", pytest.approx(10 / 12))
    assert (found.max, found.worst) == (15.0, "a")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@KINDS
def test_what_is_not_finite_is_a_fail(tmp_path: Path, kind: Kind, bad: float) -> None:
    def break_one(out: Array) -> None:
        out.reshape(-1)[1] = bad

    found = check(sealed(tmp_path, kind), spoiled(kind, break_one))
    assert (found.verdict, found.max_share) == ("fail", math.inf)


@dataclass
class Drift:
    """Adds a little from the second inference on."""

    runs_an_inference: int
    runs: int = field(default=0)

    def __call__(self, out: Array) -> None:
        self.runs += 1
        if self.runs > self.runs_an_inference:
            out += np.float32(1e-4)


@pytest.mark.parametrize(("kind", "runs"), [(FLOW, 4), (REGRESSION, 1)], ids=["flow", "regression"])
def test_an_answer_that_differs_the_second_time_is_a_fail(tmp_path: Path, kind: Kind, runs: int) -> None:
    """However little that is."""
    found = check(sealed(tmp_path, kind, count=1), spoiled(kind, Drift(runs)))
    assert found.verdict == "fail"
    assert found.max_share == 0.0
    assert found.fault == "the same observation gave another answer the second time"


def blind(kind: Kind) -> Graphs:
    """It does not look at its frames."""
    return changed(kind.graphs(), "image", "pixels", lambda out, _: out.fill(7.0))


@KINDS
def test_what_does_not_look_is_a_fail(tmp_path: Path, kind: Kind) -> None:
    """Although its reference did not look either, noise and state are others, and every figure is 0."""
    found = check(sealed(tmp_path, kind, reference=blind(kind)), Parts(blind(kind)))
    assert (found.verdict, found.max_share) == ("fail", 0.0)
    assert found.fault == "other frames gave the same answer: what it sees counts for nothing"


def test_a_flow_that_does_not_begin_with_its_noise_is_a_fail(tmp_path: Path) -> None:
    """Each of its steps goes all the way to what it sees."""

    def straight(out: Array, given: Buffers) -> None:
        steps = tiny_bundle.SPEC.head.steps  # type: ignore[union-attr]
        np.multiply(given["x_t"] - given["keys"].mean(), steps, out=out)

    deaf = changed(FLOW.graphs(), "step", "velocity", straight)
    found = check(sealed(tmp_path, FLOW, reference=deaf), Parts(deaf))
    assert (found.verdict, found.fault) == ("fail", "other noise gave the same answer: a flow begins with it")


@KINDS
def test_steady(tmp_path: Path, kind: Kind) -> None:
    policy = runner(sealed(tmp_path, kind), Parts(kind.graphs()), on_malformed="pad")
    probe = tiny_bundle.probe(policy.spec)
    actions, written = answer(policy, probe)
    assert steady(policy, replace(probe, actions=actions, written=written))
    assert not steady(policy, replace(probe, actions=actions + 1, written=written))
    assert not steady(policy, replace(probe, actions=actions, written=(*written, 1)))
    policy = runner(policy._bundle, Parts(blind(kind)), on_malformed="pad")
    assert not steady(policy, replace(probe, actions=answer(policy, probe)[0], written=written))


def test_a_probe_without_any_frame_is_asked_again_with_some(tmp_path: Path) -> None:
    policy = runner(sealed(tmp_path, FLOW), Parts(FLOW.graphs()))
    probe = tiny_bundle.probe(policy.spec)
    dark: Probe = replace(probe, observation=replace(probe.observation, frames={}))
    assert steady(policy, replace(dark, actions=answer(policy, dark)[0]))


def test_probes_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    bundle = sealed(tmp_path, FLOW, count=0)
    with pytest.raises(BundleError, match="holds no probe"):
        check(bundle, Parts(FLOW.graphs()))


# ── the command ─────────────────────────────────────────────────────────────────────────────────────────────────────


def edge_verify(monkeypatch: pytest.MonkeyPatch, bundle: Bundle, backend: Parts, *options: str) -> int:
    """`edge verify`, where ONNX Runtime is arithmetic."""
    monkeypatch.setattr("edge_runtime.backends.ort.Engine", lambda threads: backend)
    return cli.main(["verify", str(bundle.path), *options])


def test_the_command_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, out = sealed(tmp_path, FLOW), tmp_path / "found.json"
    assert edge_verify(monkeypatch, bundle, Parts(FLOW.graphs()), "--json", str(out)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{bundle.path}: backend ort, against the bundle's own probes"
    assert lines[1].startswith("  actions of 2 observations: mean 0, 99 % 0, largest 0 rad")
    assert lines[-1] == "  verdict: pass"
    found = json.loads(out.read_text())
    assert (found["verdict"], found["backend"], found["sealed"]) == ("pass", "ort", "pass")
    assert msgspec.convert(found["actions"], ActionErrors).gate == FLOAT32_GATE


def test_the_command_fails_with_1_and_valid_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = spoiled(FLOW, lambda out: out.fill(np.nan))
    assert edge_verify(monkeypatch, sealed(tmp_path, FLOW), backend, "--json") == 1
    found = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (found["verdict"], found["actions"]["max_share"]) == ("fail", None)


def test_a_fault_that_no_figure_shows_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = sealed(tmp_path, FLOW, reference=blind(FLOW))
    assert edge_verify(monkeypatch, bundle, Parts(blind(FLOW))) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "  other frames gave the same answer: what it sees counts for nothing",
        "  verdict: fail",
    ]


def test_a_fail_that_was_accepted_is_said_to_be_so(tmp_path: Path) -> None:
    bundle = sealed(tmp_path, FLOW, verdict="accepted")
    found = check(bundle, spoiled(FLOW, lambda out: np.add(out, 0.02, out=out)))
    assert text(bundle, "ort", found).endswith("  verdict: fail, as it was sealed: a person accepted that")


def test_half_precision_is_judged_by_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for i, (kind, backend) in enumerate((("fp32", "ort"), ("fp16", "torch"), ("bf16", "torch"))):
        made = msgspec.structs.replace(MADE, floats={"vision": "fp32", "expert": kind})
        bundle, asked = sealed(tmp_path / str(i), FLOW, quantization=made), []
        monkeypatch.setattr(
            "edge_runtime.commands.models._engine",
            lambda name, threads, asked=asked: asked.append((name, threads)) or Parts(FLOW.graphs()),
        )
        assert cli.main(["verify", str(bundle.path), "--threads", "3"]) == 0
        assert asked == [(backend, 3)]
        assert f": backend {backend}," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backend", "orr"], '--backend: there is no "orr", did you mean "ort"?'),
        (["--backend", "touch"], '--backend: there is no "touch", did you mean "torch"?'),
        (["--backend", ""], '--backend: there is no ""; known: ort, ort-cuda, torch, trt, trt-rtx'),
        (["--threads", "0"], "verify: invalid value for '--threads'"),
    ],
)
def test_what_is_asked_in_vain_is_one_line(tmp_path: Path, capsys: Any, options: list[str], words: str) -> None:
    bundle = sealed(tmp_path, FLOW)
    assert cli.main(["verify", str(bundle.path), *options]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"edge: {words}")


@pytest.mark.parametrize(("command", "more"), [("verify", ("torch",)), ("infer", ())])
def test_help_names_every_backend(command: str, more: tuple[str, ...], capsys: Any) -> None:
    assert cli.main([command, "--help"]) == 0
    said = capsys.readouterr().out
    assert all(plugins.spelt(name) in said for name in (*plugins.names(plugins.BACKENDS), *more))
    assert "_" not in " ".join(said.partition("--backend")[2].split()[:16])


def test_onnx_runtime_is_not_asked_for_bfloat16(tmp_path: Path, capsys: Any) -> None:
    bundle = sealed(tmp_path, FLOW, quantization=msgspec.structs.replace(MADE, floats={"expert": "bf16"}))
    assert cli.main(["verify", str(bundle.path), "--backend", "ort"]) == 2
    assert "its expert computes in bf16, which ONNX Runtime has not on a CPU" in capsys.readouterr().err


def test_without_torch_it_says_what_to_install(tmp_path: Path) -> None:
    bundle = sealed(tmp_path, FLOW, quantization=msgspec.structs.replace(MADE, floats={"expert": "bf16"}))
    code = "import sys; sys.modules['onnx'] = sys.modules['torch'] = None\n"
    code += "from edge_runtime.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "verify", str(bundle.path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "run its engines (edge compile, then edge verify --backend trt)" in done.stderr
    assert "(pip install '.[export]' in the checkout)" in done.stderr


def test_onnx_runtime_judges_without_torch(tmp_path: Path) -> None:
    """What it loads on the way to the first graph."""
    bundle = sealed(tmp_path, FLOW)
    code = "import sys; from edge_runtime.cli import main; code = main(); print(*sys.modules); sys.exit(code)"
    done = subprocess.run(
        [sys.executable, "-c", code, "verify", str(bundle.path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2  # the graphs are a few bytes
    assert "refuses it" in done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "onnxruntime" in loaded
    assert not {"torch", "onnx", "export"} & loaded
