"""What precision costs the demo policy: `python -m benchmarks.demo.precision [--episodes N] [--json FILE]`.

Each variant is quantized from the float32 bundle with a recording of it at work, and drives the same unseen layouts in
lockstep time as the original does: size, errors, closed-loop success with its paired interval, and, where ONNX Runtime
can run it, the time of an inference on one core beside the original's, interleaved.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.progress import track

from benchmarks.demo.bundle import demo_bundle
from benchmarks.demo.evaluate import SEEDS_FROM
from benchmarks.demo.record import record_demo
from benchmarks.demo.rollout import begin, run
from benchmarks.demo.statistics import paired_difference, wilson
from calibration.observations import Samples, samples
from calibration.open_dataset import open_dataset
from edge_runtime.accuracy import Accuracy, ClosedLoop
from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.policies.graph_policy import GraphPolicy
from edge_runtime.policy import open_policy
from edge_runtime.probes import read_probes
from edge_runtime.verify import answer
from export.quantize_bundle import Asked, quantize_bundle

RESULTS = Path(__file__).parents[1] / "results" / "demo_precision.json"
WORK = Path("runs") / "precision"
TIMED, WARM_UP, OBSERVATIONS = 60, 5, 64
_SLICE = 25


@dataclass(frozen=True)
class Variant:
    """A bundle, and whether it drives the simulated arm."""

    name: str
    asked: Asked
    drives: bool = False


def variants(threads: int) -> tuple[Variant, ...]:
    """The default of the Orin and of the CPU, and what is offered beside them."""
    orin = partial(Asked, "jetpack6-orin", accept=True, sensitivity=False, threads=threads)
    cpu = partial(Asked, "cpu", accept=True, sensitivity=False, threads=threads)
    bf16 = tuple(f"{part}=bf16" for part in ("vision", "table", "backbone", "expert"))
    return (
        Variant("W8A8, Orin's default", orin(sensitivity=True), drives=True),
        Variant("W8A8 by largest values", orin(ranges="max")),
        Variant("W8A8, 4 layers kept", orin(sensitivity=True, keep_fp=4)),
        Variant("W8A8, expert int4", orin(precision=("expert=int4",))),
        Variant("bf16", orin(precision=bf16)),
        Variant("FP8 (Thor)", partial(Asked, "jetpack7-thor", accept=True, sensitivity=False, threads=threads)()),
        Variant("W8A8 on a CPU", cpu(), drives=True),
        Variant("int4 on a CPU", cpu(precision=("vision=int4", "backbone=int4", "expert=int4"))),
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="What precision costs the demo policy.")
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", action="append", help="only the variants with this in their names")
    parser.add_argument("--json", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    bundle = demo_bundle(WORK / "bundle")
    recording = WORK / f"recording-{open_bundle(bundle).manifest.seal[:16]}"
    if not recording.exists():
        record_demo(bundle, recording)
    reference: list[bool] = []
    rows = {"float32": {"bytes": weight_bytes(bundle)}}
    for variant in variants(given.processes):
        if given.only and not any(part in variant.name for part in given.only):
            continue
        if variant.drives and not reference and given.episodes:
            reference = successes(bundle, given.episodes, given.processes, "float32")
            rows["float32"]["successes"] = sum(reference)
        rows[variant.name] = measured(variant, bundle, recording, reference, given.processes)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    figures = {"machine": machine, "episodes": given.episodes, "variants": rows}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(table(figures))
    return 0


def measured(variant: Variant, bundle: Path, recording: Path, reference: list[bool], processes: int) -> dict[str, Any]:
    """Quantize `bundle`, judge what comes out, and say so."""
    out = WORK / variant.name.replace(" ", "-").replace(",", "").replace("'", "")

    def closed_loop(made: Path) -> ClosedLoop:
        found = successes(made, len(reference), processes, variant.name)
        difference, low, high = paired_difference(found, reference)
        share = sum(found) / len(found), sum(reference) / len(reference)
        return ClosedLoop(len(found), *share, difference, low, high)

    judge = closed_loop if variant.drives and reference else None
    began = time.monotonic()
    quantize_bundle(bundle, partial(observed, recording), out, variant.asked, closed_loop=judge)
    seconds = time.monotonic() - began
    opened = open_bundle(out)
    accuracy = msgspec.json.decode((out / opened.manifest.accuracy).read_bytes(), type=Accuracy)
    row = {
        "bytes": weight_bytes(out),
        "quantize_seconds": round(seconds, 1),
        "parts": opened.manifest.quantization.parts if opened.manifest.quantization else {},
        "verdict": opened.manifest.verdict,
        "components": {name: msgspec.to_builtins(m) for name, m in accuracy.components.items()},
        "actions": msgspec.to_builtins(accuracy.actions),
        "closed_loop": msgspec.to_builtins(accuracy.closed_loop),
    }
    if not opened.manifest.has_half:
        row["ms"], row["float32_ms"] = interleaved(out, bundle)
    return row


def observed(recording: Path, bundle: Bundle, _told: Callable[[float], None]) -> Samples:
    """What `edge quantize` takes of a recording by default."""
    return samples(open_dataset(recording), bundle.spec, {}, count=OBSERVATIONS, seed=0, on_corrupt="fail")


def weight_bytes(bundle: Path) -> int:
    """What the graphs take, weights included; probes and tokenizer are as large in every variant."""
    manifest = open_bundle(bundle).manifest
    graphs = tuple(manifest.graphs.values())
    return sum(entry.size for name, entry in manifest.files.items() if name.startswith(graphs))


def interleaved(*bundles: Path) -> list[float]:
    """Median milliseconds of an inference of each on one core, one after the other in turns."""
    policies: list[GraphPolicy] = [open_policy(path) for path in bundles]
    probe = read_probes(open_bundle(bundles[0]))[0]
    taken: list[list[float]] = [[] for _ in bundles]
    for turn in range(TIMED + WARM_UP):
        for times, policy in zip(taken, policies, strict=True):
            began = time.perf_counter()
            answer(policy, probe)
            if turn >= WARM_UP:
                times.append((time.perf_counter() - began) * 1e3)
    return [round(float(np.median(times)), 2) for times in taken]


def successes(bundle: Path, episodes: int, processes: int, name: str) -> list[bool]:
    """Whether each episode was a success, in the order of their seeds."""
    seeds = [range(SEEDS_FROM + i, SEEDS_FROM + min(i + _SLICE, episodes)) for i in range(0, episodes, _SLICE)]
    with mp.get_context("spawn").Pool(processes) as pool:
        parts = track(pool.imap(partial(_drive, bundle=bundle), seeds), description=name, total=len(seeds))
        return [success for part in parts for success in part]


def _drive(seeds: range, bundle: Path) -> list[bool]:
    import cv2
    import torch

    from benchmarks.demo.policies import InBundle

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    episodes = [begin(seed) for seed in seeds]
    run(episodes, InBundle(bundle))
    return [episode.done_s is not None for episode in episodes]


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    rows, count = figures["variants"], figures["episodes"]
    most = rows["float32"]["bytes"]
    lines = [f"{'':24}{'MB':>7}{'of fp32':>9}{'mean':>8}{'99 %':>8}  {'success':<24}{'fewer':<22}{'ms (fp32)'}"]
    for name, row in rows.items():
        line = f"{name:24}{row['bytes'] / 1e6:>7.2f}{row['bytes'] / most:>9.0%}"
        if "actions" in row:
            errors = row["actions"]
            line += f"{errors['mean_share']:>8.2%}{errors['p99_share']:>8.2%}  "
        else:
            line += f"{'':18}"
        loop = row.get("closed_loop")
        done = row.get("successes") if loop is None else round(loop["success"] * count)
        if done is not None:
            low, high = wilson(done, count)
            line += f"{done / count:>6.1%} ({low:.1%}–{high:.1%})".ljust(24)
        else:
            line += f"{'':24}"
        if loop is not None:
            line += f"{-loop['difference']:+.1%} ({-loop['high']:+.1%} to {-loop['low']:+.1%})".ljust(22)
        line = line.ljust(102) + (f"{row['ms']:.0f} ({row['float32_ms']:.0f})" if "ms" in row else "")
        lines.append(line.rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
