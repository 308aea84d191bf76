"""From figures to what is told: statistics, agreement, goals, table, result file, time budget, JUnit counts."""

from __future__ import annotations

import copy
import json
import math
import os
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
    return {**found, "eager": part(60.0, 70.0), "compile": part(12.0, 12.1, mode="max-autotune"), "ours": ours}


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
    unknown = row(trt=quick) | {"floor_ms": None, "compile": {"ran": False, "why": "no time", "mode": "max-autotune"}}
    assert [one["state"] for one in goals([unknown])] == ["met", "met", "not run", "not run"]
    quick_mode = row(trt=quick) | {"compile": part(9.0, 9.1, mode="default")}
    assert [one["state"] for one in goals([quick_mode])] == ["met", "met", "not run", "met"]
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
    assert " ".join(said[3].split()).startswith("pi0 2 4.00 compile, max-autotune 12.00")
    assert " ".join(said[4].split()) == "pi0 2 4.00 ort-cuda 7.00 7.10 1.75 8.57 1.71 7.0 1.2e-02"
    assert said[5].split(maxsplit=3)[2:] == ["trt", "not run: TensorRT: out of memory"]
    assert "step     gemm               3.00 ms in 1260 kernels, floor 1.30" in said[7]
    assert "goal: PyTorch eager / ours, p50 ≥ 5 (ort-cuda): 8.571, met" in said


def test_a_file_is_added_to_by_the_same_machine_alone(tmp_path: Path) -> None:
    file, told = tmp_path / "r.json", list[str]()
    first = Report(file, MACHINE, told.append)
    first.put("backends", {})
    first.row(row(trt=part(7.0, 7.1)))
    again = Report(file, copy.deepcopy(MACHINE), told.append)
    again.row(row() | {"cameras": 1})
    again.row(row(trt=part(6.0, 6.1)))
    found = json.loads(file.read_text())
    assert [(one["cameras"], len(one["ours"])) for one in found["speed"]] == [(2, 1), (1, 0)]
    assert found["speed"][0]["ours"]["trt"]["wall_ms"]["p50"] == 6.0
    assert told == []
    assert default_path(MACHINE).name == "gpu_sm90_nvidia-h200.json"


@pytest.mark.parametrize("other", [{"versions": {"torch": "2.12.0"}}, {"power mode": "30W, AGX"}, {"nvidia_smi": {}}])
def test_another_machine_s_file_is_kept(tmp_path: Path, other: dict[str, Any]) -> None:
    file, told = tmp_path / "r.json", list[str]()
    Report(file, MACHINE, told.append).row(row())
    before = file.read_bytes()
    for machine in ({**MACHINE, **other}, MACHINE):
        os.utime(file, (0, 0))
        new = Report(file, machine, told.append)
        assert "speed" not in new.result
        new.put("backends", {})
    kept = {"r_1970-01-01T00-00-00Z.json", "r_1970-01-01T00-00-00Z-2.json"}
    assert {path.name for path in tmp_path.iterdir()} == {"r.json", *kept}
    assert before in [(tmp_path / name).read_bytes() for name in kept]
    kept_as = "kept as r_1970-01-01T00-00-00Z.json"
    assert told[0] == f"{file}: not of this GPU, driver, libraries and power mode: {kept_as}"


@pytest.mark.parametrize("foreign", ["", "[1]", '{"machine": 3}', "{"])
def test_a_file_that_is_no_result_is_kept(tmp_path: Path, foreign: str) -> None:
    file, told = tmp_path / "mine.json", list[str]()
    file.write_text(foreign)
    Report(file, MACHINE, told.append).put("backends", {})
    (kept,) = tmp_path.glob("mine_*.json")
    assert (kept.read_text(), len(told)) == (foreign, 1)


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
    ("name", "row"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", ""),
        ("NVIDIA GH200 480GB", ""),
        ("NVIDIA H200 MIG 1g.18gb", ""),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090 D", ""),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", ""),
        ("Tesla T4", ""),
    ],
)
def test_which_row_of_the_roofline_a_card_is(tmp_path: Path, name: str, row: str) -> None:
    found = device_row(Found(name, "sm", 80 << 30, False, 1, "13.0"), Host(tmp_path))
    assert found == row
    assert not found or found in DEVICES


@pytest.mark.parametrize(
    ("board", "gib", "mode", "row"),
    [
        ("NVIDIA Jetson AGX Orin Developer Kit", 61, "MAXN", "agx-orin-64"),
        ("NVIDIA Jetson AGX Orin Developer Kit", 61, "30W", ""),
        ("NVIDIA Jetson AGX Orin", 30, "MAXN", "agx-orin-32"),
        ("NVIDIA Jetson AGX Orin", 30, "MAXN_SUPER", ""),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", 15, "MAXN", "orin-nx-16"),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", 15, "MAXN_SUPER", "orin-nx-16-super"),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", 15, "25W", ""),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", 7, "MAXN", ""),
        ("NVIDIA Jetson Orin Nano Developer Kit", 7, "15W", "orin-nano-8"),
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", 7, "MAXN_SUPER", "orin-nano-8-super"),
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", 7, "25W", ""),
        ("NVIDIA Jetson Orin Nano Developer Kit", 3, "15W", ""),
        ("NVIDIA Jetson Orin Nano Developer Kit", 7, None, ""),
        ("somebody's carrier", 7, "MAXN", ""),
        ("NVIDIA Jetson AGX Thor Developer Kit", 122, "MAXN", "thor"),
        ("NVIDIA Jetson AGX Thor Developer Kit", 122, "120W", ""),
    ],
)
def test_which_row_a_jetson_is_in_its_power_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: str, gib: int, mode: str | None, row: str
) -> None:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_text(board + "\0")
    said = mode and f"NV Power Mode: {mode}\n0\n"
    monkeypatch.setattr(Host, "run", lambda _, *command: said if command == ("nvpmodel", "-q") else None)
    found = device_row(Found("Orin", "sm87", gib << 30, True, 8, "12.6"), Host(tmp_path))
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
