"""Train the demo policy anew: `make demo-policy`, or `python -m benchmarks.demo.train [--out DIR] [--checkpoint DIR]`.

Two stages (see `see` and `act`), then rounds of practice, then going on from committed actions. All is kept in `--out`:
stopped, it goes on where it was. With `--from CHECKPOINT` the last stage alone is trained, on that checkpoint.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from tokenizers import Tokenizer

from benchmarks.demo import act, data, model, see, words
from benchmarks.demo.evaluate import CHECKPOINT
from benchmarks.demo.finish import write_checkpoint
from benchmarks.demo.fit import Stage
from benchmarks.demo.practice import practise
from export import layouts
from export.layouts.options import Options
from export.loading import load_model
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
    commit: int = 600


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
    act.train_expert(policy, scenes, chunks, scale, prompts, out, Stage("act", plan.act, 1e-3), plan.cached)
    practised = 0
    for number, (episodes, steps, rate) in enumerate(plan.rounds):
        rough = write_checkpoint(policy, scale, tokenizer, out / "rough")
        seen = _practice(rough, cache, number, episodes, processes)
        scenes, chunks = data.join([scenes, seen]), np.concatenate([chunks, act.label(seen)])
        practised += len(seen)
        act.train_together(
            policy, heads, scenes, chunks, practised, scale, prompts, out, f"together-{number}", steps, rate
        )
    return _commit(policy, scenes, chunks, practised, scale, tokenizer, out, checkpoint, plan)


def train_last(out: Path, begun: Path, checkpoint: Path, plan: Plan, device: torch.device, processes: int) -> Path:
    """The last stage alone, on the checkpoint `begun`: on scenes of two shards, and on what it sees in practice."""
    read = layouts.read(begun, Options())
    policy = cast(Pi0, load_model(read)).to(device).requires_grad_(True)
    scale = act.Scale.from_spec(read.spec)
    seen = _practice(begun, out / "cache", len(plan.rounds), plan.rounds[-1][0], processes)
    scenes = data.join([data.load(data.shards(2, out / "cache", processes)), seen])
    tokenizer = Tokenizer.from_file(str(begun / "tokenizer.json"))
    return _commit(policy, scenes, act.label(scenes), len(seen), scale, tokenizer, out, checkpoint, plan)


def _practice(policy: Path, cache: Path, number: int, episodes: int, processes: int) -> data.Scenes:
    """What the checkpoint `policy` sees in a round of practice, which is not had again where it is in `cache`."""
    stem, say = cache / f"practice-{number}", Console().print
    if not data.complete(stem):
        cache.mkdir(parents=True, exist_ok=True)
        say(f"practice {number + 1}: {episodes} episodes")
        seen, share = practise(policy, episodes, number * episodes, processes)
        data.save(seen, stem)
        say(f"practice {number + 1}: {share:.0%} of its episodes succeed, {len(seen)} states to learn from")
    return data.load([stem])


def _commit(
    policy: Pi0, scenes: data.Scenes, chunks: NDArray[np.float32], practised: int, scale: act.Scale,
    tokenizer: Tokenizer, out: Path, checkpoint: Path, plan: Plan,
) -> Path:  # fmt: skip
    """The last stage, and the finished checkpoint."""
    stage, prompts = Stage("commit", plan.commit, 5e-4), see.Prompts(tokenizer)
    act.train_expert(policy, scenes, chunks, scale, prompts, out, stage, plan.cached, practised, committed=True)
    write_checkpoint(policy, scale, tokenizer, checkpoint, act.COMMITTED)
    Console().print(f"checkpoint: {checkpoint}")
    return checkpoint


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Train the demo policy; resumes what was begun in --out.")
    parser.add_argument("--out", type=Path, default=Path("runs/demo-policy"), help="training state and cached scenes")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="where the finished checkpoint goes")
    parser.add_argument("--from", dest="begun", type=Path, help="train the last stage alone, on this checkpoint")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    device, processes = torch.device(given.device), max(1, (os.cpu_count() or 2))
    if given.begun is not None:
        train_last(given.out, given.begun, given.checkpoint, Plan(), device, processes)
    else:
        train(given.out, given.checkpoint, Plan(), device, processes)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
