"""The stage benchmarks still call what they time: each is run once, untimed, where it needs no bundle."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT


def test_every_stage_that_needs_no_bundle_runs() -> None:
    command = [sys.executable, "-m", "pytest", "benchmarks/test_stages.py", "-o", "addopts=", "--import-mode=importlib"]
    done = subprocess.run(
        [*command, "-q", "--benchmark-disable", "-k", "yardstick or setpoint or packets"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
