"""Train the demo policy anew: `make demo-policy`, or `python -m benchmarks.demo.train [--out DIR] [--checkpoint DIR]`.

Two stages (see `see` and `act`), then rounds of practice. All is kept in `--out`: stopped, it goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.demo import act, data, model, see, words
from benchmarks.demo.evaluate import CHECKPOINT
from benchmarks.demo.finish import write_checkpoint
from benchmarks.demo.practice import practise
from export.models.pi0 import Pi0

UNSEEN_FROM = 10_000_000


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    shards: int = 6
    see: int = 350
    name: int = 1600
    act: int = 600
    cached: int = 12_288
    rounds: tuple[tuple[int, int, float], ...] = ((60, 340, 6e-4), (100, 300, 4e-4))
    """A round: episodes of practice, training steps after it, learning rate."""


def train(out: Path, checkpoint: Path, plan: Plan, device: torch.device, processes: int) -> Path:
    """Train by `plan`, keep state in `out`, write the checkpoint to `checkpoint` and return it."""
    say = Console().print
    torch.manual_seed(0)
    tokenizer = words.build()
    policy = Pi0(model.config(tokenizer.get_vocab_size()))
    act.start_expert(policy)
    heads = see.Answers(policy)
    policy.to(device)
    heads.to(device)
    prompts = see.Prompts(tokenizer)
    cache = out / "cache"
    say(f"scenes: {plan.shards * data.SHARD} of them, two cameras each")
    scenes = data.load(data.shards(plan.shards, cache, processes))
    unseen = data.make(range(UNSEEN_FROM, UNSEEN_FROM + 256))
    see.train_backbone(policy, heads, scenes, unseen, prompts, out, (plan.see, plan.name))
    say("teacher: labels every scene")
    chunks = act.label(scenes)
    scale = act.Scale.of(scenes, chunks)
    act.train_expert(policy, scenes, chunks, scale, prompts, out, plan.act, cached=plan.cached)
    practised = 0
    for number, (episodes, steps, rate) in enumerate(plan.rounds):
        stem = cache / f"practice-{number}"
        if not data.complete(stem):
            rough = write_checkpoint(policy, scale, tokenizer, out / "rough")
            say(f"practice {number + 1}: {episodes} episodes")
            seen, share = practise(rough, episodes, number * episodes, processes)
            data.save(seen, stem)
            say(f"practice {number + 1}: {share:.0%} of its episodes succeed, {len(seen)} states to learn from")
        seen = data.load([stem])
        scenes, chunks = data.join([scenes, seen]), np.concatenate([chunks, act.label(seen)])
        practised += len(seen)
        act.train_together(
            policy, heads, scenes, chunks, practised, scale, prompts, out, f"together-{number}", steps, rate
        )
    write_checkpoint(policy, scale, tokenizer, checkpoint)
    say(f"checkpoint: {checkpoint}")
    return checkpoint


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Train the demo policy; resumes what was begun in --out.")
    parser.add_argument("--out", type=Path, default=Path("runs/demo-policy"), help="training state and cached scenes")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="where the finished checkpoint goes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    train(given.out, given.checkpoint, Plan(), torch.device(given.device), max(1, (os.cpu_count() or 2)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
