"""Practice: the policy drives, the teacher says what it would have done (DAgger, https://arxiv.org/abs/1011.0686).

States come from the policy's own episodes in the simulated world, physics and mistakes included.
"""

from __future__ import annotations

import multiprocessing as mp
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.demo import data
from benchmarks.demo.policies import InTorch
from benchmarks.demo.rollout import Episode, begin, run
from drivers.sim.arm import Floats
from drivers.sim.render import HEIGHT, WIDTH

SEEDS_FROM = 20_000_000
"""Practice layouts: away from those of the evaluation and of the random scenes."""


class Watched:
    """A policy whose every observation is kept."""

    def __init__(self, policy: InTorch) -> None:
        self._policy = policy
        self.kept: list[data.Scenes] = []
        self._frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)

    def __call__(self, episodes: list[Episode]) -> list[Floats]:
        for episode in episodes:
            scene = episode.world.snapshot().scene
            row = data.empty(1)
            data.put(row, 0, scene, episode.world.gripped, data.observe(scene, self._frame))
            row.joints[0] = episode.world.position_rad
            if not any(c.fallen for c in episode.world.cups):
                self.kept.append(row)
        return self._policy(episodes)


def _practise(seeds: range, checkpoint: Path, limit_s: float) -> tuple[data.Scenes, int]:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    watched = Watched(InTorch(checkpoint))
    episodes = [begin(seed) for seed in seeds]
    run(episodes, watched, limit_s)
    return data.join(watched.kept), sum(e.done_s is not None for e in episodes)


def practise(
    checkpoint: Path, count: int, first: int, processes: int, limit_s: float = 6.0
) -> tuple[data.Scenes, float]:
    """What `count` episodes of the policy at `checkpoint` saw, and the share of them that succeeded."""
    edges = np.linspace(first, first + count, max(processes, count // 50) + 1).astype(int)
    jobs = [range(SEEDS_FROM + a, SEEDS_FROM + b) for a, b in pairwise(edges)]
    with mp.get_context("spawn").Pool(processes) as pool:
        parts = pool.map(partial(_practise, checkpoint=checkpoint, limit_s=limit_s), jobs, chunksize=1)
    return data.join([scenes for scenes, _ in parts]), sum(done for _, done in parts) / count
