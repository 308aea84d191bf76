"""The committed checkpoint: small, in the lerobot layout, does the task, and its bundle does what PyTorch does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.demo import act
from benchmarks.demo.evaluate import CHECKPOINT, Result, summary, table
from benchmarks.demo.policies import InBundle, InTorch, Look
from benchmarks.demo.rollout import begin, run
from drivers.sim.arm import JOINTS
from drivers.sim.world import World
from edge_runtime.backends import ort
from edge_runtime.bundle import open_bundle
from edge_runtime.bundle_spec import FlowSpec
from edge_runtime.policies.base import Ahead, Observation
from edge_runtime.policies.flow import Runner
from export import layouts
from export.layouts.options import Options
from export.pipeline import export_checkpoint

SEEDS = range(40_000_000, 40_000_010)


def test_it_says_what_it_is_for_and_is_small() -> None:
    checkpoint = layouts.read(CHECKPOINT, Options())
    spec = checkpoint.spec
    assert [(c.name, c.height, c.width) for c in spec.cameras] == [("base", 480, 640), ("wrist", 480, 640)]
    assert spec.action.names == JOINTS
    assert set(spec.action.units) == {"rad"}
    assert isinstance(spec.head, FlowSpec)
    assert spec.head.committed == act.COMMITTED
    assert (checkpoint.rate, spec.dt_s) == ("checkpoint", pytest.approx(0.1))
    assert sum(f.stat().st_size for f in CHECKPOINT.rglob("*")) <= 8 * 2**20


def test_it_picks_up_what_it_is_told() -> None:
    episodes = [begin(seed) for seed in SEEDS]
    run(episodes, InTorch(CHECKPOINT), limit_s=5.0)
    assert sum(e.done_s is not None for e in episodes) >= 8


def test_without_eyes_it_does_not() -> None:
    episodes = [begin(seed) for seed in SEEDS[:4]]
    run(episodes, InTorch(CHECKPOINT, "masked"), limit_s=2.5)
    assert sum(e.done_s is not None for e in episodes) <= 1


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_checkpoint(CHECKPOINT, tmp_path_factory.mktemp("demo") / "bundle")


def test_it_goes_on_from_what_is_committed(bundle: Path) -> None:
    """Rows that it would not have chosen: they stay as they are, what follows begins beside its own and finds back."""
    episode = begin(SEEDS[0])
    runner = Runner(open_bundle(bundle), ort.Engine(), seam="committed")
    free, told = (np.zeros((runner.spec.horizon, runner.spec.action.dims), np.float32) for _ in range(2))
    frames, joints = Look("open").at(episode), episode.world.position_rad.astype(np.float32)
    noise = np.random.default_rng(0).standard_normal((runner.spec.horizon, runner.spec.action.padded), np.float32)
    seen = Observation(frames, joints, runner.prompt(episode.instruction))
    runner.infer(seen, free, noise)
    slip = np.float32(0.2) * np.array(runner.spec.action_normalisation.b, np.float32)
    seen.ahead = Ahead(free + slip, committed=3, known=len(free))
    runner.infer(seen, told, noise)
    assert np.array_equal(told[:3], seen.ahead.actions[:3])
    kept = (told - free) / slip
    assert kept[3].mean() > 0.3
    assert np.abs(kept[-1]).max() < 0.25


def test_its_bundle_gives_the_same_chunks(bundle: Path) -> None:
    ours, exported = InTorch(CHECKPOINT), InBundle(bundle)
    episodes = [begin(seed) for seed in SEEDS[:3]]
    for a, b in zip(ours(episodes), exported(episodes), strict=True):
        assert np.abs(a - b).max() < 1e-3
        assert np.abs(a - a[0]).max() > 0.1


def test_the_instruction_decides() -> None:
    """The same picture, another cup: the pan turns to where that cup is."""
    torch.manual_seed(0)
    policy = InTorch(CHECKPOINT)
    agree = []
    for seed in SEEDS:
        pans, wanted = [], []
        for swap in (False, True):
            episode = begin(seed, swap)
            cup = episode.world.cups[episode.asked].position
            pans.append(policy([episode])[0][-1, 0])
            wanted.append(np.arctan2(cup[1], cup[0]))
        if abs(wanted[0] - wanted[1]) > 0.4:
            agree.append((pans[0] > pans[1]) == (wanted[0] > wanted[1]))
    assert len(agree) >= 5
    assert np.mean(agree) >= 0.9


def test_figures_and_table_count_what_happened() -> None:
    good, bad, wrong = Result(2.0, None), Result(None, None), Result(None, "red")
    results = {"PyTorch": [good] * 9 + [wrong], "exported bundle": [good] * 8 + [bad] * 2}
    figures = summary(results)
    assert figures["conditions"]["PyTorch"]["share"] == pytest.approx(0.9)  # type: ignore[index]
    assert figures["conditions"]["PyTorch"]["wrong_cup"] == 1  # type: ignore[index]
    assert figures["bundle_minus_torch"]["share"] == pytest.approx(-0.1)  # type: ignore[index]
    text = table(figures)
    assert "9/10" in text
    assert "-10.0%" in text


def test_a_gripped_wrong_cup_is_no_success() -> None:
    world = World(3)
    world.gripped = 0
    world._lifted_s = 1.0
    assert world.success(world.cups[0].colour)
    assert not world.success(world.cups[1].colour)
