"""A recording of the demo policy at work: `python -m benchmarks.demo.record BUNDLE FOLDER [--episodes N]`.

The bundle drives simulated episodes in lockstep time; what it was shown and what it answered is written as a robot's
own recording would be, to calibrate quantization with.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.demo.policies import InBundle, Look
from benchmarks.demo.rollout import REPLAN_S, Episode, begin, run
from benchmarks.recordings import step, write_recording
from drivers.sim.arm import Floats
from edge_runtime.bundle import open_bundle
from edge_runtime.recording_spec import Step

SEEDS_FROM = 2_000_000
"""Layouts that neither training nor evaluation draws."""
EPISODES, LIMIT_S = 20, 4.0


def record_demo(bundle: Path, folder: Path, episodes: int = EPISODES) -> Path:
    """Write a recording of `episodes` episodes to `folder`, which must not be there, and return it."""
    watched = _Watched(bundle)
    run([begin(SEEDS_FROM + i) for i in range(episodes)], watched, LIMIT_S)
    return write_recording(folder, "simulated arm", open_bundle(bundle).spec, watched.steps.values())


class _Watched:
    """The bundle's policy, and a note of all that it is shown and answers, by the seed of the world."""

    def __init__(self, bundle: Path) -> None:
        self._policy, self._look = InBundle(bundle), Look("open")
        self._asked = 0
        self.steps: dict[int, list[Step]] = {}

    def __call__(self, episodes: list[Episode]) -> Sequence[Floats]:
        chunks = self._policy(episodes)
        for episode, chunk in zip(episodes, chunks, strict=True):
            seen = dict(self._look.at(episode))
            made = step(self._asked * REPLAN_S, episode.instruction, episode.world.position_rad, chunk, seen)
            self.steps.setdefault(episode.world.seed, []).append(made)
        self._asked += 1
        return chunks


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Record the demo policy at work in simulation.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--episodes", type=int, default=EPISODES)
    given = parser.parse_args(arguments)
    print(record_demo(given.bundle, given.folder, given.episodes))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
