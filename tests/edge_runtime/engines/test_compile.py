"""`edge compile` over a fake of TensorRT: what is told to the library, what is kept, what is refused."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner

from edge_runtime import cli
from edge_runtime.bundle import open_bundle, seal
from edge_runtime.doctor import policy
from edge_runtime.doctor.check import Check
from edge_runtime.engines import compile, gate
from edge_runtime.engines.api import RTX_ARCHS
from edge_runtime.engines.key import BuildOptions
from edge_runtime.engines.store import Store
from edge_runtime.errors import BackendError, BundleError
from tests.edge_runtime.engines import fakes, onnx_bundle
from tests.edge_runtime.engines.fakes import Machine, Named, TensorRt
from tests.edge_runtime.engines.onnx_writer import FLOAT, Op, graph, model


@pytest.fixture
def library(machine: Machine) -> TensorRt:
    return machine.install()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return onnx_bundle.bundle(tmp_path)


def test_every_graph_gets_an_engine_once(library: TensorRt, bundle: Path) -> None:
    told: list[tuple[str, float]] = []
    found = compile.compile_bundle(bundle, progress=lambda *now: told.append(now))
    assert list(found.engines) == ["image", "prefix", "step"]
    assert all(e.built and e.path.is_file() and not e.rebuilt for e in found.engines.values())
    assert found.place == compile.Place("trt", "10.3.0", "sm87", "Orin")
    library_told = [part for graph, part in told if graph == "step"]
    assert (library_told[0], library_told[-1], sorted(library_told)) == (0.0, 1.0, library_told)
    again = compile.compile_bundle(bundle)
    assert [e.info for e in again.engines.values()] == [e.info for e in found.engines.values()]
    assert not any(e.built for e in again.engines.values())
    assert len(library.configs) == 3
    assert all(e.built for e in compile.compile_bundle(bundle, rebuild=True).engines.values())
    assert all(network.flags == 1 << 1 for network in library.networks)
    assert all(config.flags == set() for config in library.configs), "float32 is not rounded to TF32"


def test_a_library_that_is_always_strongly_typed_is_not_told_so(machine: Machine, bundle: Path) -> None:
    library = machine.install("11.2.0")
    compile.compile_bundle(bundle)
    assert [network.flags for network in library.networks] == [0, 0, 0]


def test_options_are_told_and_make_another_engine(library: TensorRt, bundle: Path) -> None:
    compile.compile_bundle(bundle)
    found = compile.compile_bundle(bundle, options=BuildOptions(64, 512, 5))
    assert library.configs[-1].limits == {Named.WORKSPACE: 64 << 20, Named.TACTIC_DRAM: 512 << 20}
    assert library.configs[-1].builder_optimization_level == 5  # type: ignore[attr-defined]
    assert library.configs[0].limits == {}
    assert all("its workspace_mib is 0, not 64" in e.rebuilt for e in found.engines.values())
    assert len(list((bundle / "engines").glob("*.engine"))) == 3


def test_the_timings_of_one_build_help_the_next(library: TensorRt, bundle: Path) -> None:
    compile.compile_bundle(bundle)
    cache = bundle / "engines" / "timing-trt-10.3.0-sm87.cache"
    assert cache.read_bytes() == b"timings timings "
    assert library.configs[0].caches == [b""]
    assert library.configs[1].caches == [b"timings "]
    cache.write_bytes(b"other GPU's")
    compile.compile_bundle(bundle, rebuild=True)
    assert library.configs[3].caches == [b"other GPU's", b""]


def test_an_engine_that_was_cut_short_is_named_and_rebuilt(library: TensorRt, bundle: Path) -> None:
    path = compile.compile_bundle(bundle).engines["step"].path
    path.write_bytes(path.read_bytes()[:-5])
    found = compile.compile_bundle(bundle)
    assert [e.built for e in found.engines.values()] == [False, False, True]
    assert found.engines["step"].rebuilt.startswith(f"{path}: not loaded: it has ")
    assert found.engines["step"].rebuilt in compile.text(found)


def test_another_bundle_in_its_place_gets_engines_of_its_own(library: TensorRt, bundle: Path) -> None:
    compile.compile_bundle(bundle)
    (bundle / "engines").rename(bundle.parent / "kept")
    onnx_bundle.bundle(bundle.parent, onnx_bundle.image(relus=9))
    (bundle.parent / "kept").rename(bundle / "engines")
    found = compile.compile_bundle(bundle)
    assert all("not loaded: its bundle is " in e.rebuilt for e in found.engines.values())


def test_ctrl_c_ends_the_build_and_leaves_what_was_there(library: TensorRt, bundle: Path) -> None:
    before = compile.compile_bundle(bundle).engines["image"].info
    told: list[float] = []
    library.steps = [lambda: None, lambda: os.kill(os.getpid(), signal.SIGINT), lambda: pytest.fail("it went on")]
    with pytest.raises(KeyboardInterrupt):
        compile.compile_bundle(bundle, rebuild=True, progress=lambda _graph, part: told.append(part))
    assert told == pytest.approx([0.0, 1 / 3, 2 / 3])
    library.steps = [lambda: None]
    assert compile.compile_bundle(bundle).engines["image"].info == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (model(graph([Op("Levitate", ("x",), "y")], {"x": (FLOAT, (1,))}, {"y": (FLOAT, (1,))})), "Levitate"),
        (model(graph([Op("Add", ("x", "z"), "y")], {"x": (FLOAT, (1,))}, {"y": (FLOAT, (1,))})), r"operator Op \(n\)"),
    ],
)
def test_a_graph_that_it_does_not_take_is_one_line(
    library: TensorRt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, words: str
) -> None:
    library.module.__version__ = "11.1"  # type: ignore[attr-defined]
    bundle = onnx_bundle.bundle(tmp_path, onnx_bundle.image(), content)
    with pytest.raises(BackendError, match=words) as caught:
        compile.compile_bundle(bundle)
    assert str(bundle / "prefix.onnx") in str(caught.value)
    assert "TensorRT 11.1" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "/_src/" not in str(caught.value)
    assert engines(bundle) == []


def test_on_10_3_the_list_is_read_before_anything_is_built(library: TensorRt, tmp_path: Path) -> None:
    strange = model(graph([Op("Bernoulli", ("x",), "y", "n7")], {"x": (FLOAT, (1,))}, {"y": (FLOAT, (1,))}))
    bundle = onnx_bundle.bundle(tmp_path, onnx_bundle.image(), onnx_bundle.prefix(), strange)
    with pytest.raises(BackendError, match=r"step.onnx: TensorRT 10.3.0 does not take operator Bernoulli \(n7\)"):
        compile.compile_bundle(bundle)
    assert library.networks == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_ends_the_build_too(library: TensorRt, bundle: Path, number: signal.Signals) -> None:
    """Between two of its steps: nothing is raised within the library."""
    done: list[str] = []
    before = signal.signal(number, signal.SIG_DFL)
    library.steps = [
        lambda: (os.kill(os.getpid(), number), done.append("the step"))[1],
        lambda: pytest.fail("it went on"),
    ]
    try:
        assert isinstance(run("compile", str(bundle)).exception, click.Abort)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert done == ["the step"]
    assert engines(bundle) == []


@pytest.mark.parametrize(
    ("target", "made_for"),
    [
        ("jetpack7-thor", "Jetson Thor, JetPack 7 (sm110)"),
        ("x86-rtx", "RTX GPU in an x86 computer (sm89, sm120, sm121)"),
        ("cpu", "any CPU, ONNX Runtime"),
    ],
)
def test_a_bundle_for_other_gpus_is_refused(library: TensorRt, bundle: Path, target: str, made_for: str) -> None:
    with pytest.raises(BackendError) as caught:
        compile.compile_bundle(onnx_bundle.quantized_for(bundle, target))
    assert str(caught.value) == (
        f"{bundle}: made for {made_for}, not for sm87; quantize the original for another target"
    )
    assert library.networks == []


@pytest.mark.parametrize("target", ["jetpack6-orin", "jetpack7-orin", "a-later-one"])
def test_a_bundle_for_this_gpu_or_for_who_knows_is_not(library: TensorRt, bundle: Path, target: str) -> None:
    assert compile.compile_bundle(onnx_bundle.quantized_for(bundle, target)).held


def test_what_the_builder_says_is_passed_on(library: TensorRt, bundle: Path) -> None:
    library.fails = "IBuilder::buildSerializedNetwork: Error Code 10: Could not find any implementation for node {x}.\n"
    with pytest.raises(BackendError, match=r"image.onnx: TensorRT 10.3.0 cannot build it: Error Code 10: Could not"):
        compile.compile_bundle(bundle)


def test_more_memory_is_asked_for_where_that_is_what_it_lacked(library: TensorRt, bundle: Path) -> None:
    library.fails = "Error Code 2: OutOfMemory (Requested size was 8453760 bytes.)"
    with pytest.raises(BackendError, match=r"8453760 bytes.\); give it more with --workspace or --memory-limit"):
        compile.compile_bundle(bundle)


def run(*words: str) -> Any:
    return CliRunner().invoke(cli.edge, words, standalone_mode=False)


def engines(bundle: Path) -> list[str]:
    """Files in its store, but for the lock and the timings."""
    return sorted(path.name for path in (bundle / "engines").iterdir() if path.suffix in (".engine", ".json", ".part"))


RIGHT, WRONG = onnx_bundle.step(), onnx_bundle.step(times=3)


def test_engines_are_held_to_the_gate_all_together(library: TensorRt, bundle: Path) -> None:
    told: list[tuple[str, float]] = []
    found = compile.compile_bundle(bundle, progress=lambda *now: told.append(now))
    assert found.answers is not None
    assert (found.answers.verdict, found.answers.observations, found.answers.max) == ("pass", 2, 0.0)
    assert all(e.info.held for e in found.engines.values())
    assert compile.HELD in found.proven
    judged = [part for name, part in told if name == compile.GATE]
    assert (judged[0], judged[-1], sorted(judged)) == (0.0, 1.0, judged)
    assert [name for name, _ in told][-len(judged) :] == [compile.GATE] * len(judged)
    again = compile.compile_bundle(bundle)
    assert again.answers is None, "nothing is new"
    assert again.held


def test_a_set_whose_answers_fail_is_not_kept(library: TensorRt, bundle: Path) -> None:
    """Not one engine of it, and those from before are as they were."""
    before, left = compile.compile_bundle(bundle), engines(bundle)
    library.wrong[RIGHT] = WRONG
    with pytest.raises(BackendError) as caught:
        compile.compile_bundle(bundle, rebuild=True)
    said = str(caught.value)
    assert said.startswith(f"{bundle}: its engines do not answer its probes as the gate asks: actions of 2 obs")
    assert "(at most 0.01%)" in said
    assert "\n" not in said
    assert engines(bundle) == left
    assert compile.compile_bundle(bundle) == replace(before, engines=kept(before), answers=None)
    assert gate.hold(open_bundle(bundle), "trt", files(before)).verdict == "pass"


def kept(found: compile.Compiled) -> dict[str, compile.Engine]:
    return {name: replace(engine, built=False) for name, engine in found.engines.items()}


def files(found: compile.Compiled) -> dict[str, Path]:
    return {name: engine.path for name, engine in found.engines.items()}


def test_one_engine_anew_is_judged_beside_those_that_were_there(library: TensorRt, bundle: Path) -> None:
    before = compile.compile_bundle(bundle)
    path = before.engines["step"].path
    path.unlink()
    library.wrong[RIGHT] = WRONG
    with pytest.raises(BackendError, match="as the gate asks"):
        compile.compile_bundle(bundle)
    assert not path.exists()
    library.wrong.clear()
    found = compile.compile_bundle(bundle)
    assert [e.built for e in found.engines.values()] == [False, False, True]
    assert found.answers is not None
    assert found.held


def test_answers_that_a_person_accepted_are_told(library: TensorRt, tmp_path: Path) -> None:
    """And nothing says that they were what the gate asks, now or the next time."""
    bundle = onnx_bundle.bundle(tmp_path, verdict="accepted")
    library.wrong[RIGHT] = WRONG
    for built in (True, False):
        found = compile.compile_bundle(bundle)
        assert all(e.built == built and not e.info.held for e in found.engines.values())
        assert found.answers is not None
        assert found.answers.verdict == "fail"
        assert set(compile.ACCEPTED) <= set(found.unproven)
        assert not {compile.HELD, *compile.UNRUN} & {*found.proven, *found.unproven}
        assert "(at most 0.01%)" in compile.text(found)
    library.wrong.clear()
    assert compile.compile_bundle(bundle, rebuild=True).held


def test_engines_that_nobody_held_are_held_where_they_run(library: TensorRt, bundle: Path) -> None:
    """As ones that were built ahead of time, elsewhere."""
    store = Store(bundle)
    for engine in compile.compile_bundle(bundle).engines.values():
        sidecar = engine.path.with_suffix(".json")
        sidecar.write_text(sidecar.read_text().replace('"held": true', '"held": false'))
        assert store.find(engine.info.key).info == msgspec.structs.replace(engine.info, held=False)
    found = compile.compile_bundle(bundle)
    assert found.answers is not None
    assert not any(e.built for e in found.engines.values())
    assert all(e.info.held and store.find(e.info.key).info == e.info for e in found.engines.values())


def test_probes_that_cannot_be_read_keep_nothing(library: TensorRt, bundle: Path) -> None:
    manifest = open_bundle(bundle).manifest
    (bundle / manifest.probes).write_bytes(b"{}")
    seal(bundle, manifest)
    with pytest.raises(BundleError, match=r"probes.safetensors: cannot be read"):
        compile.compile_bundle(bundle)
    assert engines(bundle) == []


@pytest.mark.parametrize("spelling", ["trt-rtx", "trt_rtx"])
def test_a_backend_is_found_by_both_spellings(monkeypatch: pytest.MonkeyPatch, bundle: Path, spelling: str) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    fakes.forget()
    said = str(run("verify", str(bundle), "--backend", spelling).exception)
    assert said.startswith("backend trt-rtx: ")
    assert said.endswith("pip install '.[cuda,rtx]' in the checkout")
    assert str(run("compile", str(bundle), "--backend", spelling).exception) == said


@pytest.mark.parametrize(("instead", "code"), [(RIGHT, 0), (WRONG, 1)])
def test_verify_runs_the_engines_too(library: TensorRt, tmp_path: Path, instead: bytes, code: int) -> None:
    """`edge verify --backend trt`: the same probes and gate, with what is in the store."""
    bundle = onnx_bundle.bundle(tmp_path, verdict="accepted")
    library.wrong[RIGHT] = instead
    answer = run("verify", str(bundle), "--backend", "trt")
    assert "there is no engine for trt 10.3.0 on sm87" in str(answer.exception)
    compile.compile_bundle(bundle)
    answer = run("verify", str(bundle), "--backend", "trt")
    assert (answer.exception, answer.return_value) == (None, code)


def test_unfused_products_are_warned_of(library: TensorRt, tmp_path: Path) -> None:
    quantized = onnx_bundle.step(quantized=True)
    library.told = json.dumps({"Layers": [{"Metadata": "[ONNX Layer: mm]", "Inputs": [{"Format/Datatype": "Float"}]}]})
    bundle = onnx_bundle.bundle(tmp_path, onnx_bundle.image(), onnx_bundle.prefix(), quantized)
    found = compile.compile_bundle(bundle)
    line = "MatMul (mm) runs in Float: its quantization did not fuse"
    assert found.engines["step"].info.layers.unfused == (line,)
    assert f"warning: {line}" in compile.text(found)
    assert compile.facts(found)["graphs"]["step"]["unfused"] == [line]


def test_refusals(machine: Machine, monkeypatch: pytest.MonkeyPatch, bundle: Path, tmp_path: Path) -> None:
    machine.install()
    with monkeypatch.context() as m:
        m.setitem(sys.modules, "tensorrt", None)
        with pytest.raises(BackendError, match=r"^--for sm86: needs --backend trt-rtx; TensorRT builds for the GPU in"):
            compile.compile_bundle(bundle, arch="sm86")
    with pytest.raises(BundleError, match="no such bundle"):
        compile.compile_bundle(tmp_path / "none")
    machine.remove()
    with pytest.raises(BackendError, match=r"no GPU can be reached from here: cuInit: CUDA_ERROR_NO_DEVICE \(no CUDA"):
        compile.compile_bundle(bundle)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    fakes.forget()
    with pytest.raises(BackendError, match=r"backend trt: .*; pip install '\.\[tensorrt\]' .* comes with JetPack"):
        compile.compile_bundle(bundle)


def test_a_gpu_that_tensorrt_rtx_does_not_build_for(
    machine: Machine, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody named it, and there is nothing to compile: so whoever asks for the backend hears it at once."""
    machine.install("1.7.1", rtx=True, capability=(9, 0), name="H200")
    why = "backend trt-rtx: TensorRT-RTX does not build for sm90, this GPU (H200); use trt or ort-cuda"
    for command, more in (("verify", ""), ("compile", "; or name a GPU: --for sm86")):
        assert cli.main([command, str(bundle), "--backend", "trt-rtx"]) == 2
        assert capsys.readouterr().err == f"edge: {why}{more}\n"
    (gpu, *_), last = [policy.gpu_here("trt_rtx")], policy.engines(open_bundle(bundle), "trt_rtx")
    assert (gpu.found, last) == ("H200, sm90", Check("engines", "bad", why))


def test_help_names_the_architectures_of_tensorrt_rtx(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compile", "--help"]) == 0
    assert ", ".join(RTX_ARCHS) in " ".join(capsys.readouterr().out.split())


def test_engines_for_a_computers_gpu_speak_of_no_robot(
    machine: Machine, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.install("1.7.1", rtx=True, capability=(8, 9), name="RTX 4090", integrated=False)
    assert cli.main(["compile", str(bundle), "--backend", "trt-rtx"]) == 0
    said = capsys.readouterr().out
    assert "speed: measure it where they run" in said
    assert not any(word in said for word in ("robot", "Orin", "trt_rtx"))


def test_a_place_is_told_from_another_by_its_gpu(machine: Machine, bundle: Path) -> None:
    compiled: list[str] = []
    for capability in ((8, 7), (11, 0)):
        machine.install("11.0", capability=capability)
        compiled.append(compile.compile_bundle(bundle).engines["image"].path.name)
    assert [name.split("-")[3] for name in compiled] == ["sm87", "sm110"]
    assert len(list((bundle / "engines").glob("image*.engine"))) == 2


def test_the_command(library: TensorRt, bundle: Path, tmp_path: Path) -> None:
    told = tmp_path / "r.json"
    answer = run("compile", str(bundle), "--workspace", "64", "--json", str(told))
    assert answer.exception is None
    assert f"{bundle}: engines for sm87, Orin, TensorRT 10.3.0" in answer.output
    assert "answers        actions of 2 observations: mean 0, " in answer.output
    assert "proves         every graph parses" in answer.output
    assert compile.HELD in answer.output
    assert "nothing has run them" not in answer.output
    found = json.loads(told.read_text())
    assert found["options"] == {"workspace_mib": 64, "memory_limit_mib": 0, "optimisation_level": 3}
    assert found["tensorrt_10_3_does_not_take"] == {"image": [], "prefix": [], "step": []}
    assert found["answers"]["verdict"] == "pass"
    assert compile.HELD in found["proves"]
    assert found["does_not_prove"]
    row = found["graphs"]["step"]
    assert (row["built"], row["held_to_gate"], row["layers"]) == (
        True,
        True,
        "the engine inspector tells no more than names",
    )
    assert Path(row["engine"]).stat().st_size == row["size"]
