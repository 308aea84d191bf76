"""`make bench`: every stage by itself, then the loop on the simulated robot, all against benchmarks/budgets.toml."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.budgets import PERCENTILES, Figures, Row, device_class, figures, judge, load
from drivers.errors import DriverError
from edge_runtime.bench import bench_sim
from edge_runtime.errors import EdgeError
from edge_runtime.files import write_whole

ROOT = Path(__file__).resolve().parent.parent
REPORT = Path("runs/bench")


def main() -> int:
    """Exit code 0: every stage within its budget; 1: one is over; 2: something has to be mended first."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0, help="control ticks a second (default 100)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the loop runs (default 20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table for programs")
    options = parser.parse_args()
    try:
        budgets = load(device_class())
        timings = {**stages(), **loop(options.rate, options.seconds)}
        rows = list(judge(timings, budgets))
    except (EdgeError, DriverError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    show(rows)
    if options.json is not None:
        write_whole(
            options.json, json.dumps({"device": device_class(), "stages": [vars(r) for r in rows]}, indent=2) + "\n"
        )
    return 1 if any(row.over for row in rows) else 0


def stages() -> dict[str, Figures]:
    """Time every micro benchmark of this folder in a process of its own; figures in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "stages.json"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "benchmarks",
            "--benchmark-only",
            "--benchmark-quiet",
            "-o",
            "addopts=",
        ]
        command += ["--import-mode=importlib", "-q", "--no-header", f"--benchmark-json={result}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EdgeError(f"a stage could not be timed: {done.stdout.strip().splitlines()[-1]}")
        found: list[dict[str, Any]] = json.loads(result.read_text())["benchmarks"]
    return {b["extra_info"]["stage"]: figures(b["stats"]["data"]) for b in found}


def loop(rate_hz: float, seconds: float) -> dict[str, Figures]:
    """The loop's lateness and its floor, µs; without cyclictest there is neither, and a line has said so."""
    report = bench_sim(rate_hz, seconds, None, REPORT, lambda words: print(words, file=sys.stderr))
    if "floor_us" not in report:
        return {}
    return {"loop.lateness": report["control"]["lateness_us"], "floor.cyclictest": report["floor_us"]}


def show(rows: list[Row]) -> None:
    """The table: measured and, behind it, allowed multiples."""
    heads = "".join(f"{name.replace('_', '.'):>20}" for name in PERCENTILES)
    print(f"{'stage':20}{'times':20}{heads}")
    for row in rows:
        cells = "".join(f"{_cell(row.measured, row.budget, name):>20}" for name in PERCENTILES)
        print(f"{row.stage:20}{row.yardstick:20}{cells}{'  OVER' if row.over else ''}")


def _cell(measured: Mapping[str, float], budget: Mapping[str, float], name: str) -> str:
    return f"{measured[name]:.3g} of {budget[name]:g}"


if __name__ == "__main__":
    sys.exit(main())
