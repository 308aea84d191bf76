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

from benchmarks import peers
from benchmarks.budgets import PERCENTILES, Figures, Row, device_class, figures, judge, load
from benchmarks.demo.bundle import demo_bundle
from drivers.errors import DriverError
from edge_runtime.bench import BUNDLE, bench_sim
from edge_runtime.errors import EdgeError
from edge_runtime.files import write_whole
from edge_runtime.load import KINDS
from edge_runtime.report_text import number

ROOT = Path(__file__).resolve().parent.parent
REPORT = Path("runs/bench")
WIRE_S = 1.4e-3
"""What the bytes of a serial cycle take at least: `wire_us` of six Feetech servos in benchmarks/serial_cycle.py."""


def main() -> int:
    """Exit code 0: every stage within its budget; 1: one is over; 2: something has to be mended first."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0, help="control ticks a second (default 100)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the loop runs (default 20)")
    parser.add_argument("--load", choices=KINDS, help="keep that of the machine busy meanwhile")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table for programs")
    options = parser.parse_args()
    try:
        budgets = load(device_class())
        bundle = demo_bundle(BUNDLE)
        report = bench_sim(options.rate, options.seconds, bundle, REPORT, _say, options.load)
        others = peers.measure(options.rate, options.seconds, bundle, options.load)
        rows = list(judge({**stages(), **loop(report)}, budgets))
    except (EdgeError, DriverError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    show(rows)
    compare(report, others)
    if options.json is not None:
        found = {"device": device_class(), "stages": [vars(r) for r in rows], "loop": report, "peers": others}
        write_whole(options.json, json.dumps(found, indent=2) + "\n")
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


def loop(report: dict[str, Any]) -> dict[str, Figures]:
    """The loop's stages, s, and its lateness and floor, µs, of which without cyclictest there is neither."""
    control = report["control"]
    found: dict[str, Figures] = {
        "yardstick.wire": dict.fromkeys(PERCENTILES, WIRE_S),
        "loop.cpu": _scaled(control["cpu_us"], 1e-6),
        "loop.serial": _scaled(report["serial_ms"], 1e-3),
        "loop.inference": _scaled(report["inference_ms"], 1e-3),
        "loop.sensor_to_motor": _scaled(report["sensor_to_motor_ms"], 1e-3),
    }
    if "floor_us" in report:
        found |= {"loop.lateness": control["lateness_us"], "loop.jitter": control["jitter_us"]}
        found |= {"loop.sent": control["sent_us"], "floor.cyclictest": report["floor_us"]}
    return found


def _scaled(row: dict[str, float | None], unit: float) -> Figures:
    """In seconds. `EdgeError` where nothing was measured: the loop did no task."""
    if None in row.values():
        raise EdgeError("the loop followed no chunk: see its report in runs/bench")
    return {name: value * unit for name, value in row.items() if value is not None}


def show(rows: list[Row]) -> None:
    """The table: measured and, behind it, allowed multiples."""
    heads = "".join(f"{name.replace('_', '.'):>20}" for name in PERCENTILES)
    print(f"{'stage':22}{'times':20}{heads}")
    for row in rows:
        cells = "".join(f"{_cell(row.measured, row.budget, name):>20}" for name in PERCENTILES)
        print(f"{row.stage:22}{row.yardstick:20}{cells}{'  OVER' if row.over else ''}")


def compare(report: dict[str, Any], others: dict[str, dict[str, Any]]) -> None:
    """How evenly the loops went round, and how many rounds are missing, in multiples of ours."""
    control, heads = report["control"], "".join(f"{name.replace('_', '.'):>18}" for name in PERCENTILES)
    ours = control["jitter_us"]
    print(f"\n{'error of the period, µs':24}{heads}   rounds of those due")
    cells = "".join(f"{number(ours[name]):>18}" for name in PERCENTILES)
    print(f"{'this loop':24}{cells}   {control['ticks']} of {control['ticks'] + control['missed']}")
    for loop, found in others.items():
        theirs = found["jitter_us"]
        cells = "".join(f"{number(theirs[name])} ({theirs[name] / ours[name]:.1f}×)".rjust(18) for name in PERCENTILES)
        print(f"{loop:24}{cells}   {found['rounds']} of {found['due']}")


def _say(words: str) -> None:
    print(words, file=sys.stderr)


def _cell(measured: Mapping[str, float], budget: Mapping[str, float], name: str) -> str:
    return f"{measured[name]:.3g} of {budget[name]:g}"


if __name__ == "__main__":
    sys.exit(main())
