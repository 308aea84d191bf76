"""Many episodes side by side in simulated time: the worlds wait while a policy thinks, as a robot would not.

Timing is the runtime's: an observation at t, its chunk in force from t + `LATENCY_S`, joint targets interpolated
linearly, a new observation every `REPLAN_S`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.demo.teacher import DT_S
from drivers.sim.arm import Floats
from drivers.sim.world import World

TICK_S, REPLAN_S, LATENCY_S, LIMIT_S = 0.02, 0.2, 0.1, 8.0


@dataclass
class Episode:
    """One world, the cup that was asked for, and how it went."""

    world: World
    asked: int
    """Index of the cup that the policy is told to pick up."""
    instruction: str
    chunk: Floats | None = None
    chunk_s: float = 0.0
    pending: Floats | None = None
    done_s: float | None = None
    """When the asked cup was lifted long enough."""
    other: str | None = None
    """Colour of another cup that was lifted long enough, if any was."""


Policy = Callable[[list[Episode]], Iterable[Floats]]
"""Chunks [horizon, 6] of joint targets for episodes that want one, in their order."""


def begin(seed: int, swap: bool = False) -> Episode:
    """The episode of `seed`: one of its cups is asked for; with `swap`, another one of the same layout."""
    world = World(seed)
    world.torque_on[:] = True
    count = len(world.cups)
    asked = int(np.random.default_rng([seed, 1]).integers(count))
    asked = (asked + 1) % count if swap else asked
    return Episode(world, asked, world.instruction_for(asked))


def run(episodes: list[Episode], policy: Policy, limit_s: float = LIMIT_S) -> None:
    """Run every episode to its success or the limit."""
    replan, late = round(REPLAN_S / TICK_S), round(LATENCY_S / TICK_S)
    for tick in range(round(limit_s / TICK_S)):
        now_s = tick * TICK_S
        open_ = [e for e in episodes if e.done_s is None]
        if not open_:
            return
        if tick % replan == 0:
            for episode, chunk in zip(open_, policy(open_), strict=True):
                episode.pending = chunk
        for episode in open_:
            if tick % replan == late and episode.pending is not None:
                episode.chunk, episode.chunk_s, episode.pending = episode.pending, now_s - LATENCY_S, None
            if episode.chunk is not None:
                episode.world.goal_rad[:] = target(episode.chunk, now_s - episode.chunk_s)
            episode.world.step(TICK_S)
            _judge(episode, now_s + TICK_S)


def target(chunk: Floats, age_s: float) -> Floats:
    """The joint target [6] that a chunk has due at `age_s` after its observation."""
    place = min(age_s / DT_S, len(chunk) - 1.0)
    k = min(int(place), len(chunk) - 2)
    out: Floats = chunk[k] + (place - k) * (chunk[k + 1] - chunk[k])
    return out


def _judge(episode: Episode, now_s: float) -> None:
    world = episode.world
    if world.gripped is None:
        return
    colour = world.cups[world.gripped].colour
    if world.success(colour):
        if world.gripped == episode.asked:
            episode.done_s = now_s
        else:
            episode.other = colour


def frames(cameras: tuple[str, ...]) -> dict[str, NDArray[np.uint8]]:
    """A frame buffer a camera."""
    return {name: np.zeros((480, 640, 3), dtype=np.uint8) for name in cameras}
