"""How good the demo policy is: `python -m benchmarks.demo.evaluate [--episodes N] [--json FILE]`.

Unseen layouts in lockstep simulated time, the same for every condition. Success is the world's judgement: the asked
cup held between both pads and lifted for long enough.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import track

from benchmarks.demo.rollout import Policy, begin, run
from benchmarks.demo.statistics import paired_difference, wilson

CHECKPOINT = Path(__file__).parent / "checkpoint"
SEEDS_FROM = 1_000_000
"""Evaluation layouts; training draws its own from seeds below 10^6 and above 10^7."""
_SLICE = 25


@dataclass(frozen=True)
class Condition:
    """One column of the evaluation."""

    name: str
    policy: str
    """`torch` or `bundle`."""
    eyes: str = "open"
    swap: bool = False
    """Told another cup of the same layout."""


CONDITIONS = (
    Condition("PyTorch", "torch"),
    Condition("exported bundle", "bundle"),
    Condition("told another cup of the same layout", "torch", swap=True),
    Condition("cameras blanked", "torch", eyes="blanked"),
    Condition("proprioception alone", "torch", eyes="masked"),
)


@dataclass(frozen=True)
class Result:
    """One episode: how long it took (None: failed), and the colour of a wrong cup that was lifted, if any."""

    seconds: float | None
    wrong: str | None


def _run_slice(seeds: range, condition: Condition, checkpoint: Path, bundle: Path) -> list[Result]:
    episodes = [begin(seed, condition.swap) for seed in seeds]
    run(episodes, _policy(condition, checkpoint, bundle))
    return [Result(e.done_s, e.other) for e in episodes]


def _policy(condition: Condition, checkpoint: Path, bundle: Path) -> Policy:
    import cv2
    import torch

    from benchmarks.demo.policies import InBundle, InTorch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if condition.policy == "torch":
        return InTorch(checkpoint, condition.eyes)  # type: ignore[arg-type]
    return InBundle(bundle, condition.eyes)  # type: ignore[arg-type]


def evaluate(
    checkpoint: Path, episodes: int, conditions: Sequence[Condition], processes: int
) -> dict[str, list[Result]]:
    """Results of every condition by name, in seed order."""
    from export.pipeline import export_checkpoint

    seeds = [range(SEEDS_FROM + i, SEEDS_FROM + min(i + _SLICE, episodes)) for i in range(0, episodes, _SLICE)]
    results = {}
    with tempfile.TemporaryDirectory() as folder, mp.get_context("spawn").Pool(processes) as pool:
        bundle = export_checkpoint(checkpoint, Path(folder) / "bundle")
        for condition in conditions:
            job = partial(_run_slice, condition=condition, checkpoint=checkpoint, bundle=bundle)
            parts = track(pool.imap(job, seeds), description=condition.name, total=len(seeds))
            results[condition.name] = [result for part in parts for result in part]
    return results


def summary(results: dict[str, list[Result]]) -> dict[str, object]:
    """Figures for programs."""
    conditions = {}
    for name, found in results.items():
        times = [r.seconds for r in found if r.seconds is not None]
        low, high = wilson(len(times), len(found))
        conditions[name] = {
            "episodes": len(found),
            "successes": len(times),
            "share": len(times) / len(found),
            "interval": [low, high],
            "wrong_cup": sum(r.wrong is not None for r in found),
            "median_s": float(np.median(times)) if times else None,
        }
    out: dict[str, object] = {"conditions": conditions}
    if "PyTorch" in results and "exported bundle" in results:
        a, b = ([r.seconds is not None for r in results[name]] for name in ("exported bundle", "PyTorch"))
        share, low, high = paired_difference(a, b)
        out["bundle_minus_torch"] = {"share": share, "interval": [low, high]}
    return out


def table(figures: dict[str, object]) -> str:
    """The same for people."""
    lines = [f"{'':38}success   95 % interval    episodes  a wrong cup  median"]
    conditions = figures["conditions"]
    assert isinstance(conditions, dict)
    for name, c in conditions.items():
        low, high = c["interval"]
        median = "" if c["median_s"] is None else f"{c['median_s']:.1f} s"
        lines.append(
            f"{name:38}{c['share']:6.1%}   {low:6.1%} – {high:6.1%}   {c['successes']:4}/{c['episodes']:<4}"
            f"{c['wrong_cup']:10}   {median:>7}"
        )
    difference = figures.get("bundle_minus_torch")
    if isinstance(difference, dict):
        low, high = difference["interval"]
        lines.append(f"exported bundle minus PyTorch, paired: {difference['share']:+.1%} ({low:+.1%} to {high:+.1%})")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Evaluate the demo policy in lockstep simulated time.")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", action="append", choices=[c.name for c in CONDITIONS], help="leave out the others")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args(arguments)
    conditions = [c for c in CONDITIONS if given.only is None or c.name in given.only]
    figures = summary(evaluate(given.checkpoint, given.episodes, conditions, given.processes))
    print(table(figures))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
