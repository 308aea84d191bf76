"""Rendered training scenes: the model's pixels, patches that know their cup, files that come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.demo import data, see
from benchmarks.demo.scenes import sample
from drivers.sim.render import NAMES, render
from export.image import ImageGraph, Preprocess


@pytest.fixture(scope="module")
def few() -> data.Scenes:
    return data.make(range(24))


def test_training_pixels_are_the_exports_pixels() -> None:
    scene, _ = sample(1)
    frame = np.zeros((480, 640, 3), np.uint8)
    render(scene, "base", frame)
    preprocess = Preprocess(data.IMAGE, "torch-bilinear", "centre")
    exported = ImageGraph({"base": (480, 640)}, preprocess)(torch.from_numpy(frame))
    trained = see.pixels_of(torch.from_numpy(data.small(frame))[None, None])
    assert trained.shape == (1, 1, 3, data.IMAGE, data.IMAGE)
    assert float((trained[0] - exported).abs().max()) <= 1.01 / 127.5  # one grey level


def test_patches_that_a_cup_covers_have_its_colour(few: data.Scenes) -> None:
    truth = see.answers_of(few)
    cover, where, mask = see.cover_of(few, np.arange(len(few)), truth)
    patches = (data.IMAGE // data.PATCH) ** 2
    assert cover.shape[1] == len(NAMES) * patches
    for row in range(len(few)):
        present = set(few.colours[row][few.colours[row] >= 0].tolist())
        seen = set(np.flatnonzero(cover[row, :patches].max(dim=0).values.numpy() > 0).tolist())
        assert seen == present
    assert where[mask > 0].abs().max() <= 3.0


def test_answers_and_metres_are_inverse(few: data.Scenes) -> None:
    truth = see.answers_of(few).astype(np.float64)
    there = few.colours >= 0
    assert np.allclose(see.metres(truth)[there], few.cups[there][:, :2], atol=1e-5)
    held = np.flatnonzero(few.held >= 0)
    for row in held:
        answer = truth[row, few.held[row]]
        assert answer[5] == 1.0
        assert np.abs(answer[2:4] * 0.04).max() < 0.03


def test_shards_come_back(few: data.Scenes, tmp_path: Path) -> None:
    data.save(few, tmp_path / "a")
    assert data.complete(tmp_path / "a")
    assert not data.complete(tmp_path / "b")
    both = data.load([tmp_path / "a", tmp_path / "a"])
    assert len(both) == 2 * len(few)
    assert np.array_equal(both.pixels[len(few) :], few.pixels)
