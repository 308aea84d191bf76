"""Statistics against NumPy's over everything at once, and in the shapes that trainers expect."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.lerobot import statistics


def test_of_all_is_what_the_rows_together_have() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(n, 1 + n, (20 * (n + 1), 3)) for n in range(3)]
    whole, each = np.concatenate(parts), [statistics.of_rows(part) for part in parts]
    found = statistics.of_all(each)
    for name, wanted in (("mean", whole.mean(0)), ("std", whole.std(0)), ("min", whole.min(0)), ("max", whole.max(0))):
        np.testing.assert_allclose(found[name], wanted, rtol=1e-12)
    assert found["count"].tolist() == [120]
    weighted = sum(one["q90"] * len(part) for one, part in zip(each, parts, strict=True)) / 120
    np.testing.assert_allclose(found["q90"], weighted)  # LeRobot's, not the rows' own


def test_frames_are_of_three_colours_from_0_to_1() -> None:
    frame = np.zeros((4, 6, 3), np.uint8)
    frame[..., 0], frame[:2, :, 1] = 255, 51
    found = statistics.of_frames([frame, frame])
    assert {name: value.shape for name, value in found.items() if name != "count"} == dict.fromkeys(
        ("min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99"), (3, 1, 1)
    )
    np.testing.assert_allclose(found["mean"][:, 0, 0], [1.0, 0.1, 0.0])
    assert found["count"].tolist() == [2]


@pytest.mark.parametrize(("length", "count"), [(1, 1), (99, 99), (100, 100), (464, 100), (1000, 177), (10_000, 1000)])
def test_how_many_frames_are_looked_at(length: int, count: int) -> None:
    """The counts that LeRobot's own comments give."""
    chosen = statistics.sampled(length)
    assert len(chosen) == count
    assert {0, length - 1} <= chosen


def test_large_frames_are_thinned() -> None:
    assert statistics.thinned(np.zeros((480, 640, 3), np.uint8)).shape == (120, 160, 3)
    assert statistics.thinned(np.zeros((299, 200, 3), np.uint8)).shape == (299, 200, 3)


def test_flags_and_single_rows() -> None:
    found = statistics.of_rows(np.array([True, False, False, False]))
    assert found["mean"].tolist() == [0.25]
    assert statistics.of_rows(np.zeros((1, 2)))["std"].tolist() == [0, 0]
