"""The scripted teacher does the task by itself, and its chunks go on smoothly from the measured joints."""

from __future__ import annotations

import numpy as np

from benchmarks.demo import scenes, teacher
from benchmarks.demo.rollout import Episode, begin, run
from drivers.sim import arm
from drivers.sim.arm import Floats


def taught(episodes: list[Episode]) -> list[Floats]:
    """The teacher as a policy: it alone sees the world's state."""
    return [
        teacher.chunk(e.world.position_rad, e.world.cups[e.asked].position, e.world.gripped == e.asked)
        for e in episodes
    ]


def test_it_succeeds_in_97_of_100_layouts() -> None:
    episodes = [begin(seed) for seed in range(40)]
    run(episodes, taught, limit_s=6.0)
    assert sum(e.done_s is not None for e in episodes) >= 39
    assert all(e.other is None for e in episodes)


def test_told_another_cup_it_takes_that_one() -> None:
    episodes = [begin(seed, swap=True) for seed in range(10)]
    assert all(e.asked != begin(seed).asked for seed, e in enumerate(episodes))
    run(episodes, taught, limit_s=6.0)
    assert all(e.done_s is not None for e in episodes)


def test_chunks_start_at_the_joints_and_stay_within_limits() -> None:
    for seed in range(60):
        scene, held = scenes.sample(seed)
        for i, cup in enumerate(scene.cups):
            chunk = teacher.chunk(scene.q, cup.position, held == i)
            assert chunk.shape == (teacher.HORIZON, 6)
            assert (chunk >= arm.LOW_RAD).all()
            assert (chunk <= arm.HIGH_RAD).all()
            assert np.abs(chunk[0, :5] - scene.q[:5]).max() < 0.35
            assert np.abs(np.diff(chunk[:, :5], axis=0)).max() < 0.35


def test_a_chunk_depends_on_nothing_but_its_arguments() -> None:
    scene, _ = scenes.sample(7)
    cup = scene.cups[0].position
    assert np.array_equal(teacher.chunk(scene.q, cup, False), teacher.chunk(scene.q.copy(), cup.copy(), False))


def test_random_scenes_are_the_same_for_a_seed_and_show_every_phase() -> None:
    found = [scenes.sample(seed) for seed in range(120)]
    again, _ = scenes.sample(3)
    assert np.array_equal(again.q, found[3][0].q)
    heights = np.array([arm.tip_position(scene.q)[2] for scene, _ in found])
    assert (heights < 0.06).any()
    assert (heights > 0.15).any()
    lifted = [scene.cups[held].position[2] > 0.02 for scene, held in found if held is not None]
    assert any(lifted)
    assert not all(lifted)
