"""What it costs a chunk to go on from the running one: flow steps with committed rows, and with guidance, beside plain.

    python -m benchmarks.flow_seams [--rounds 200] [--json FILE]

The demo policy, exported plain and with both, in ONNX Runtime on one thread, whose time on the processor is taken. All
take turns, and a ratio is the median over the rounds of what one took to what the plain one took in the same round.
`step` is one run of the graph, `chunk` a whole inference, `shared` a chunk whose prefix was made before
(policy.prefix_every). Only times: that a checkpoint was trained with committed actions makes none of them longer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.demo.bundle import CHECKPOINT
from edge_runtime.backends.ort import Engine
from edge_runtime.bundle import open_bundle
from edge_runtime.files import write_whole
from edge_runtime.policies.base import Ahead, Observation, Seam
from edge_runtime.policies.flow import Runner
from export.layouts.options import Options
from export.pipeline import export_checkpoint

COMMITTED = 5
WARM_UPS = 5

Run = Callable[[], None]


def _chunks(runner: Runner, ahead: bool) -> Run:
    """A whole inference of an arm that follows a chunk, or does not."""
    spec, rng = runner.spec, np.random.default_rng(0)
    out = np.zeros((spec.horizon, spec.action.dims), np.float32)
    running = Ahead(rng.standard_normal(out.shape).astype(np.float32), COMMITTED, spec.horizon - 1) if ahead else None
    frames = {c.name: rng.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in spec.cameras}
    seen = Observation(frames, np.zeros(spec.state.dims, np.float32), runner.prompt("pick up the red cup"), running)
    return lambda: runner.infer(seen, out)


def cases(folder: Path) -> dict[str, dict[str, Run]]:
    """What is compared → way of going on → what is timed."""
    plain = open_bundle(export_checkpoint(CHECKPOINT, folder / "plain"))
    both = open_bundle(export_checkpoint(CHECKPOINT, folder / "both", Options(committed=COMMITTED, guided=True)))
    seams: dict[str, Seam] = {"committed": "committed", "guided": "guided"}
    runners = {"plain": Runner(plain, Engine())} | {n: Runner(both, Engine(), seam=s) for n, s in seams.items()}
    graphs = {name: runner.graphs["guide" if name == "guided" else "step"].run for name, runner in runners.items()}
    chunks = {name: _chunks(runner, name != "plain") for name, runner in runners.items()}
    chunks["shared"] = _chunks(Runner(plain, Engine(), prefix_every=1_000_000), ahead=False)
    return {"step": graphs, "chunk": chunks}


def timed(runs: dict[str, Run], rounds: int) -> dict[str, dict[str, float]]:
    """Name → median, ms, and the ratio to plain."""
    took = np.zeros((rounds, len(runs)))
    for i in range(-WARM_UPS, rounds):
        for k, run in enumerate(runs.values()):
            began = time.thread_time()
            run()
            if i >= 0:
                took[i, k] = time.thread_time() - began
    ratios = np.median(took / took[:, :1], axis=0)
    return {
        name: {"ms": round(float(ms) * 1e3, 3), "ratio": round(float(ratio), 2)}
        for name, ms, ratio in zip(runs, np.median(took, axis=0), ratios, strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures for programs")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = cases(Path(folder))
        found = {what: timed(runs, asked.rounds) for what, runs in track(made.items(), "timing", transient=True)}
    if asked.json is not None:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        told: dict[str, Any] = {"machine": machine, "rounds": asked.rounds, "committed": COMMITTED, **found}
        write_whole(asked.json, json.dumps(told, indent=2) + "\n")
    print(f"{'':<8}{'':<12}{'ms':>9}{'ratio':>8}")
    for what, rows in found.items():
        for name, row in rows.items():
            print(f"{what:<8}{name:<12}{row['ms']:>9.3f}{row['ratio']:>8.2f}")


if __name__ == "__main__":
    main()
