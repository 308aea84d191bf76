"""The whole check at tiny width, on a simulated GPU with a fake of TensorRT: what it writes, prints and ends with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo  # looks for libraries when it is loaded, and a fake is none that could be found

from benchmarks.gpu import __main__ as check
from benchmarks.gpu import bundle, child, contract, eager, kernels, models, ours, outputs, speed
from benchmarks.gpu.found import Found
from benchmarks.gpu.kernels import Kernel
from edge_runtime.errors import EdgeError, one_line
from export.pipeline import export_checkpoint
from tests.benchmarks.gpu.small import SMALL
from tests.edge_runtime.engines import fakes
from tests.edge_runtime.engines.fakes import Machine
from tests.export import tiny
from tests.imports import ROOT

machine = fakes.machine
ORIN = Found("Orin", "sm87", 64 << 20, True, 16, "12.6")
SEEN = [Kernel("sm80_xmma_gemm_bf16", 900.0), Kernel("softmax_warp_forward", 50.0)]


def here(function: Callable[..., Any], *arguments: Any, limit_s: float) -> Any:
    """`child.run` without a process; arguments and answer go through JSON all the same."""
    assert limit_s > 0
    try:
        return json.loads(json.dumps(function(*json.loads(json.dumps(arguments)))))
    except EdgeError as error:
        raise child.Failed(str(error)) from error
    except RuntimeError as error:
        raise child.Failed(one_line(f"RuntimeError: {error}")) from error


@pytest.fixture
def _orin(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    """An Orin with TensorRT, on which tiny models are of full size and PyTorch's GPU is the CPU."""
    machine.install(memory_bytes=256 << 20)
    monkeypatch.setattr(check, "look", lambda: ORIN)
    monkeypatch.setattr(child, "run", here)
    for module in (models, bundle, eager, speed):
        monkeypatch.setattr(module, "MODELS", SMALL)
    monkeypatch.setattr(bundle, "PRECISION", "fp32")  # of its fake, which has no bfloat16
    monkeypatch.setattr(eager, "DEVICE", "cpu")
    for module in (eager, ours):
        monkeypatch.setattr(module, "WARM_UP", 1)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(speed, "GOAL", ("openvla", 1))
    monkeypatch.setattr(kernels, "traced", lambda run: SEEN)
    monkeypatch.setattr(outputs, "names", lambda: ["tiny"])
    monkeypatch.setattr(
        outputs, "exported", lambda _, out: export_checkpoint(tiny.saved(Path(out).parent), Path(out)) and None
    )
    monkeypatch.setattr(contract, "_run", _passing)


def _passing(command: list[str], _limit_s: float) -> str:
    report = next(word.partition("=")[2] for word in command if word.startswith("--junitxml="))
    Path(report).write_text('<testsuites><testsuite><testcase name="a"/></testsuite></testsuites>')
    return ""


@pytest.mark.usefixtures("_orin")
def test_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "found.json"
    asked = ["--json", str(file), "--replays", "5", "--model", "openvla"]
    assert check.main([*asked, "--keep", str(tmp_path / "kept")]) == 0
    found, said = json.loads(file.read_text()), capsys.readouterr()
    assert [name for name, one in found["backends"].items() if one["ran"]] == ["trt"]
    assert "TensorRT-RTX does not build for sm87, this GPU" in found["backends"]["trt_rtx"]["why"]
    assert found["contract"] == {
        "trt": {"ran": True, "why": "", "passed": 1, "failed": 0, "skipped": 0, "failures": {}}
    }
    assert found["outputs"]["tiny"]["trt"]["verdict"] == "pass"
    assert {name: one["ran"] for name, one in found["sections"].items()} == dict.fromkeys(
        ("machine", "backends", "contract", "outputs", "speed"), True
    )
    (row,) = found["speed"]
    ours = row["ours"]["trt"]
    assert [part["wall_ms"]["replays"] for part in (row["eager"], row["compile"], ours)] == [5, 5, 5]
    assert ours["agreement"]["verdict"] == "pass"
    assert ours["agreement"]["tokens_same"] == 1.0
    assert ours["memory_bytes"] > 0
    assert [(one["graph"], one["kind"], one["kernels"]) for one in ours["kernels"]["rows"][:2]] == [
        ("decode", "gemm", 6),
        ("image", "gemm", 1),
    ]
    assert (row["floor_ms"], row["floor_why"][:14]) == (None, "unknown device")
    assert {goal["state"] for goal in found["goals"]} == {"not run"}
    assert "goal: p50 / roofline floor ≤ 2: not run" in said.out
    assert "openvla, 1 cameras: eager" in said.err
    assert list((tmp_path / "kept" / "speed").iterdir()) == []


@pytest.mark.usefixtures("_orin")
def test_what_cannot_run_or_has_no_time_is_said_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.json"
    monkeypatch.setattr(eager, "DEVICE", "cuda")
    assert check.main(["--json", str(file), "--only", "speed", "--model", "smolvla", "--minutes", "0.27"]) == 0
    found = json.loads(file.read_text())
    (row,) = found["speed"]
    assert found["sections"]["contract"]["why"] == "not asked for: --only speed"
    assert {name: one["ran"] for name, one in found["sections"].items()} == {
        **dict.fromkeys(("contract", "outputs", "speed"), False),
        **dict.fromkeys(("machine", "backends"), True),
    }
    assert "PyTorch" in row["eager"]["why"]
    assert "reaches no GPU" in row["eager"]["why"]
    assert row["bundle"]["why"].startswith("left out: takes about 18 s, and 16 s are left")
    assert {part["ran"] for part in (row["eager"], row["compile"], row["bundle"])} == {False}
    assert row["ours"] == {}
    assert {goal["state"] for goal in json.loads(file.read_text())["goals"]} == {"not run"}
    assert "not run: no bundle: left out" in capsys.readouterr().out


def test_without_a_gpu_it_is_one_line_and_nothing_else() -> None:
    """In a process without anything that takes long to load."""
    program = "import sys; from benchmarks.gpu import __main__ as m; code = m.main([]); "
    program += "assert not {'numpy', 'torch', 'onnx'} & set(sys.modules); sys.exit(code)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    if not done.stdout.startswith("gpu-check: skipped: "):
        pytest.skip("there is a GPU here")
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 1, "")
    by_make = subprocess.run(
        ["bash", ".ci/gpu-check", sys.executable], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert by_make.stdout == done.stdout


@pytest.mark.parametrize("wrong", [["--model", "pi5"], ["--minutes", "0"], ["--compile-mode", "max"], ["--keep"]])
def test_options_are_read_before_a_gpu_is_looked_for(wrong: list[str]) -> None:
    command = ["bash", ".ci/gpu-check", sys.executable, *wrong]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert wrong[0] in done.stderr


def test_what_is_half_there_is_needed(tmp_path: Path) -> None:
    """An uninstall that was cut short leaves a folder that is imported, and nothing is in it."""
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").touch()
    command = [sys.executable, "-m", "benchmarks.gpu.needed", "names"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "onnxruntime\n")


def test_a_folder_of_its_own_is_in_the_checkout_and_gone_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "RUNS", tmp_path / "runs")
    with check._folder(None) as folder:
        assert folder.parent == tmp_path / "runs"
    assert not folder.exists()
    with check._folder(tmp_path / "kept") as folder:
        assert folder == tmp_path / "kept"
