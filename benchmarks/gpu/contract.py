"""The contract of backends and programs, held by the tests themselves, on this GPU."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmarks.gpu.budget import Budget
from benchmarks.gpu.child import ROOT
from edge_runtime.errors import one_line

TESTS = "tests/edge_runtime/backends/test_on_gpu.py"
NEED_S, LIMIT_S = 30.0, 900.0
_FAILED_NAMED = 10


def section(backends: Collection[str], budget: Budget) -> dict[str, Any]:
    """By backend what passed, failed and was skipped. Each backend's tests are a process of their own."""
    return {name: one(name, budget) for name in backends}


def one(name: str, budget: Budget) -> dict[str, Any]:
    lacking = [library for library in ("pytest", "hypothesis") if importlib.util.find_spec(library) is None]
    why = f"{', '.join(lacking)}: not installed" if lacking else budget.lacks(NEED_S)
    if why:
        return {"ran": False, "why": why}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", f"{TESTS}::{class_of(name)}", f"--junitxml={report}"]
        command += ["-o", "addopts=", "--import-mode=importlib", "-q", "-p", "no:cacheprovider"]
        said = _run(command, budget.at_most(LIMIT_S))
        if not report.is_file():
            return {"ran": False, "why": one_line(said)}
        return counted(report.read_text())


def class_of(name: str) -> str:
    """The class of tests of a backend: "ort_cuda" is held by TestOrtCuda."""
    return "Test" + "".join(part.title() for part in name.split("_"))


def counted(junit: str) -> dict[str, Any]:
    """Counts of a JUnit report, and the first tests that failed with the first line of why."""
    cases = list(ElementTree.fromstring(junit).iter("testcase"))
    failed = {case.get("name", ""): _why(case) for case in cases if _why(case)}
    skipped = sum(case.find("skipped") is not None for case in cases)
    told = dict(list(failed.items())[:_FAILED_NAMED])
    ran = len(cases) > skipped
    return {
        "ran": ran,
        "why": "" if ran else _skipped(cases),
        "passed": len(cases) - len(failed) - skipped,
        "failed": len(failed),
        "skipped": skipped,
        "failures": told,
    }


def _why(case: ElementTree.Element) -> str:
    found = next((part for part in (case.find("failure"), case.find("error")) if part is not None), None)
    return "" if found is None else one_line(found.get("message") or "it failed")


def _skipped(cases: list[ElementTree.Element]) -> str:
    whys = {part.get("message", "") for case in cases if (part := case.find("skipped")) is not None}
    return one_line("; ".join(sorted(whys)) or "there was no test")


def _run(command: list[str], limit_s: float) -> str:
    """What it printed last, or that it was not done in time."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "GPU_CHECK": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"not done in {limit_s:.0f} s"
    lines = [line for line in said.splitlines() if re.search(r"\w", line)]
    return lines[-1] if lines else f"exit code {process.returncode}"
