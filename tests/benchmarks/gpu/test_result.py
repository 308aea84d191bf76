"""From figures to what is told: statistics, agreement, goals, table, result file, time budget, JUnit counts."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import child, contract
from benchmarks.gpu.agreement import agreement
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.found import Found
from benchmarks.gpu.goals import goals
from benchmarks.gpu.machine import device_row, nvidia_smi
from benchmarks.gpu.report import Report, default_path, failed
from benchmarks.gpu.table import table
from benchmarks.gpu.timing import summary
from edge_runtime.doctor.host import Host
from edge_runtime.roofline import DEVICES
from tests.benchmarks.gpu import works

H200 = Found("NVIDIA H200", "sm90", 143_771 << 20, False, 132, "13.0")
MACHINE = {"gpu": vars(H200), "versions": {"torch": "2.11.0"}, "nvidia_smi": {"driver_version": "580.159"}}


def part(p50: float, p99: float, **more: Any) -> dict[str, Any]:
    times = {"replays": 200, "min": p50, "p50": p50, "p99": p99, "max": p99}
    return {"ran": True, "why": "", "events_ms": times, "wall_ms": times, "memory_bytes": 7 << 30, **more}


def row(**ours: dict[str, Any]) -> dict[str, Any]:
    found = {"model": "pi0", "cameras": 2, "floor_ms": 4.0, "bundle": {"ran": True}}
    return {**found, "eager": part(60.0, 70.0), "compile": part(12.0, 12.1), "ours": ours}


def test_percentiles_are_times_that_were_measured() -> None:
    assert summary([3.0, 1.0, 2.0]) == {"replays": 3, "min": 1.0, "p50": 2.0, "p99": 3.0, "max": 3.0}
    found = summary([float(i) for i in range(1, 201)])
    assert (found["p50"], found["p99"], found["replays"]) == (101.0, 199.0, 200)


def test_ours_may_be_as_far_from_float32_as_pytorch_is() -> None:
    exact, noise = np.ones((2, 50)), np.random.default_rng(0).standard_normal((2, 50))
    pytorch = {"actions": exact + 0.02 * noise, "exact_actions": exact}
    near = agreement({"actions": exact - 0.03 * noise}, pytorch)
    assert near["verdict"] == "pass"
    assert near["limit"] == pytest.approx(2 * near["pytorch_to_float32"])
    assert agreement({"actions": exact - 0.05 * noise}, pytorch)["verdict"] == "fail"
    assert agreement({"actions": exact * math.nan}, pytorch)["verdict"] == "fail"
    assert agreement({"actions": exact[:1]}, {"actions": exact})["verdict"] == "fail"
    assert agreement({"actions": exact[:1]}, {"actions": exact})["ours_to_pytorch"] is None
    assert agreement({"actions": exact}, {})["ran"] is False


def test_goals_are_met_or_not_or_not_run() -> None:
    slow, quick = part(9.0, 9.9), part(7.0, 7.1)
    found = {(one["goal"], one["backend"]): one["state"] for one in goals([row(trt=quick, ort_cuda=slow)])}
    assert [state for (_, backend), state in found.items() if backend == "trt"] == ["met"] * 4
    assert [state for (_, backend), state in found.items() if backend == "ort_cuda"] == [
        "not met",
        "met",
        "met",
        "not met",
    ]
    unknown = row(trt=quick) | {"floor_ms": None, "compile": {"ran": False, "why": "no time"}}
    assert [one["state"] for one in goals([unknown])] == ["met", "met", "not run", "not run"]
    wrong = row(trt=part(7.0, 7.1, agreement={"verdict": "fail"}))
    assert {one["state"] for one in goals([wrong])} == {"not met: it computes something else"}
    refused = row(trt={"ran": False, "why": "no"})
    for rows in ([], [refused], [row(trt=quick) | {"cameras": 3}]):
        assert {one["state"] for one in goals(rows)} == {"not run"}


def test_the_table_says_what_ran_and_why_the_rest_did_not() -> None:
    ours = part(7.0, 7.1, agreement={"ran": True, "ours_to_float32": 0.012, "verdict": "pass"})
    kernel = {
        "graph": "step",
        "kind": "gemm",
        "ms": 3.0,
        "kernels": 1260,
        "floor_ms": 1.3,
        "lost_ms": 1.7,
        "longest": {},
    }
    ours["kernels"] = {"ran": True, "why": "", "ms": 6.5, "rows": [kernel]}
    rows = [row(ort_cuda=ours, trt={"ran": False, "why": "TensorRT: out of memory"})]
    said = table({"machine": MACHINE, "speed": rows, "goals": goals(rows)}).splitlines()
    assert said[0] == "NVIDIA H200 (sm90, 140 GiB), CUDA 13.0"
    assert " ".join(said[1].split()) == "policy cameras floor by p50 p99 × floor × eager × compile GiB error"
    assert " ".join(said[4].split()) == "pi0 2 4.00 ort_cuda 7.00 7.10 1.75 8.57 1.71 7.0 1.2e-02"
    assert said[5].split(maxsplit=3)[2:] == ["trt", "not run: TensorRT: out of memory"]
    assert "step     gemm               3.00 ms in 1260 kernels, floor 1.30" in said[7]
    assert "goal: PyTorch eager / ours, p50 ≥ 5 (ort_cuda): 8.571, met" in said


def test_a_file_is_added_to_by_the_same_machine_alone(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    first = Report(file, MACHINE)
    first.put("backends", {})
    first.row(row(trt=part(7.0, 7.1)))
    again = Report(file, copy.deepcopy(MACHINE))
    again.row(row() | {"cameras": 1})
    again.row(row(trt=part(6.0, 6.1)))
    found = json.loads(file.read_text())
    assert [(one["cameras"], len(one["ours"])) for one in found["speed"]] == [(2, 1), (1, 0)]
    assert found["speed"][0]["ours"]["trt"]["wall_ms"]["p50"] == 6.0
    other = Report(file, {**MACHINE, "versions": {"torch": "2.12.0"}})
    assert "speed" not in other.result
    assert default_path(MACHINE).name == "gpu_sm90_nvidia-h200.json"


def test_what_ran_and_did_not_hold_is_a_failure() -> None:
    good = {"contract": {"trt": {"ran": True, "failed": 0}}, "outputs": {"demo": {"trt": {"verdict": "pass"}}}}
    good["speed"] = [row(trt=part(1.0, 1.0, agreement={"ran": True, "verdict": "pass"}), ort_cuda={"ran": False})]  # type: ignore[assignment]
    assert not failed(good)
    for section, bad in {
        "contract": {"trt": {"ran": True, "failed": 1}},
        "outputs": {"demo": {"trt": {"verdict": "fail"}}},
        "speed": [row(trt=part(1.0, 1.0, agreement={"ran": True, "verdict": "fail"}))],
    }.items():
        assert failed({**good, section: bad})


def test_work_that_does_not_fit_is_left_out() -> None:
    now = [100.0]
    budget = Budget(2.0, lambda: now[0])
    assert budget.lacks(119.0) == ""
    now[0] += 61.0
    assert budget.lacks(60.0) == "left out: takes about 60 s, and 59 s are left of 2 minutes"
    assert budget.at_most(600.0) == 59.0
    now[0] += 100.0
    assert budget.at_most(600.0) == 1.0
    assert Budget(None).lacks(1e9) == ""
    assert Budget(None).at_most(600.0) == 600.0


def test_junit_counts() -> None:
    cases = '<testcase name="a"/><testcase name="b"><failure message="assert 1 == 2&#10;more"/></testcase>'
    cases += '<testcase name="c"><skipped message="why"/></testcase>'
    found = contract.counted(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    assert (found["ran"], found["passed"], found["failed"], found["skipped"]) == (True, 1, 1, 1)
    assert found["failures"] == {"b": "assert 1 == 2 more"}
    only = contract.counted('<testsuites><testcase name="c"><skipped message="no GPU"/></testcase></testsuites>')
    assert (only["ran"], only["why"]) == (False, "no GPU")


def test_another_process_answers_or_says_why_not() -> None:
    assert child.run(works.quotient, 6, 3, limit_s=60.0) == 2.0
    with pytest.raises(child.Failed, match=r"ZeroDivisionError: .* by zero"):
        child.run(works.quotient, 6, 0, limit_s=60.0)
    with pytest.raises(child.Failed, match=r"^cannot do that$"):
        child.run(works.refused, limit_s=60.0)
    with pytest.raises(child.Failed, match="killed by SIGSEGV"):
        child.run(works.crash, limit_s=60.0)
    with pytest.raises(child.Failed, match="not done in 1 s"):
        child.run(works.wait, limit_s=0.6)


@pytest.mark.parametrize(
    ("name", "board", "gib", "row"),
    [
        ("NVIDIA H200", "", 140, "h200"),
        ("NVIDIA H100 80GB HBM3", "", 80, "h100"),
        ("NVIDIA H100 PCIe", "", 80, ""),
        ("NVIDIA H200 MIG 1g.18gb", "", 18, ""),
        ("NVIDIA GeForce RTX 4090", "", 24, "rtx-4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "", 16, ""),
        ("Orin", "NVIDIA Jetson AGX Orin Developer Kit", 61, "agx-orin-64"),
        ("Orin", "NVIDIA Jetson AGX Orin", 30, "agx-orin-32"),
        ("Orin", "NVIDIA Jetson Orin NX Engineering Reference Developer Kit", 15, "orin-nx-16"),
        ("Orin", "NVIDIA Jetson Orin Nano Developer Kit", 7, "orin-nano-8"),
        ("Orin", "somebody's carrier", 7, ""),
        ("NVIDIA Thor", "NVIDIA Jetson AGX Thor Developer Kit", 122, "thor"),
        ("Tesla T4", "", 16, ""),
    ],
)
def test_which_row_of_the_roofline_a_gpu_is(tmp_path: Path, name: str, board: str, gib: int, row: str) -> None:
    if board:
        (tmp_path / "proc/device-tree").mkdir(parents=True)
        (tmp_path / "proc/device-tree/model").write_text(board + "\0")
    found = device_row(Found(name, "sm", gib << 30, bool(board), 1, "13.0"), Host(tmp_path))
    assert found == row
    assert not found or found in DEVICES


def test_what_nvidia_smi_does_not_know_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "580.159.04, P0, Disabled, [N/A], 31, 76.51 W, 700.00 W, 345 MHz, 3201 MHz, 1980 MHz, 3201 MHz\n"
    monkeypatch.setattr(Host, "run", lambda *_: line)
    found = nvidia_smi(Host())
    assert (found["driver_version"], found["clocks.max.sm"]) == ("580.159.04", "1980 MHz")
    assert "mig.mode.current" not in found
    for nothing in (None, "", "NVIDIA-SMI has failed\n"):
        monkeypatch.setattr(Host, "run", lambda *_, nothing=nothing: nothing)
        assert nvidia_smi(Host()) == {}
