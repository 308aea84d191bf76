"""A seam's offset: it begins as it was given, fades to nothing, and seams that follow each other are as one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.blend import FASTEST_PER_S, OVER, SHARE, USUAL_RAD, Blend
from edge_runtime.limits import Limits
from edge_runtime.reference import Reference
from tests.edge_runtime.motion import MS, ONE, T0, WIDE, bounds, limits, triple

offsets = st.tuples(triple, triple, triple)


def sampled(blend: Blend, t_ns: int) -> np.ndarray:
    """What the blend adds [3, n]."""
    out = Reference(3)
    blend.add(t_ns, out)
    return np.array([out.position_rad, out.velocity_rad_s, out.acceleration_rad_s2])


@given(bounds, offsets)
def test_it_begins_as_the_offset_is_and_fades_to_nothing(at: Limits, offset: tuple) -> None:
    blend = Blend(at)
    blend.begin(np.array(offset), T0)
    np.testing.assert_allclose(sampled(blend, T0), offset, atol=1e-12)
    over_ns = round(OVER / blend.rate_per_s * 1e9)
    assert np.abs(sampled(blend, T0 + over_ns - MS)).max() < 1e-3
    assert (sampled(blend, T0 + over_ns + MS) == 0.0).all()


@given(bounds, offsets, st.lists(st.integers(1, 100), max_size=5))
def test_seams_before_the_last_one_is_over_change_nothing(at: Limits, offset: tuple, pauses_ms: list) -> None:
    """New chunks that agree with the old one: each begins with what is left, and the arm goes where it would have."""
    once, again, t_ns = Blend(at), Blend(at), T0
    once.begin(np.array(offset), T0)
    again.begin(np.array(offset), T0)
    for pause_ms in pauses_ms:
        t_ns += pause_ms * MS
        again.begin(sampled(again, t_ns), t_ns)
    for after_ms in (0, 30, 200):
        expected = sampled(once, t_ns + after_ms * MS)
        np.testing.assert_allclose(sampled(again, t_ns + after_ms * MS), expected, atol=1e-6)


def test_its_derivatives_are_those_of_its_position() -> None:
    blend = Blend(ONE)
    blend.begin(np.array([[0.1, -0.2, 0.0], [1.0, 0.0, -0.5], [0.0, 3.0, 1.0]]), T0)
    rows = np.array([sampled(blend, T0 + k * MS // 10) for k in range(4000)])
    for derivative in (1, 2):
        found = np.gradient(rows[:, derivative - 1], 1e-4, axis=0)
        np.testing.assert_allclose(found[1:-1], rows[1:-1, derivative], atol=1e-3)


@pytest.mark.parametrize(
    "at", [limits([9.0] * 3, [90.0, 900.0, 900.0], [30.0, 90.0, 900.0]), limits([9.0] * 3, [3.0] * 3, [9e9] * 3)]
)
def test_a_usual_offset_takes_its_share_of_the_tightest_limit(at: Limits) -> None:
    blend = Blend(at)
    blend.begin(np.array([[USUAL_RAD] * 3, [0.0] * 3, [0.0] * 3]), T0)
    bends = np.array([sampled(blend, T0 + k * MS // 10)[2] for k in range(20_000)])
    bend = np.abs(bends).max(axis=0) / at.acceleration
    jerk = np.abs(np.diff(bends, axis=0) / 1e-4).max(axis=0) / at.jerk
    assert max(bend.max(), jerk.max()) == pytest.approx(SHARE, rel=0.01)


def test_however_quick_a_robot_may_be_it_is_no_faster_than_this() -> None:
    assert Blend(WIDE).rate_per_s == FASTEST_PER_S


def test_a_forgotten_seam_adds_nothing() -> None:
    blend = Blend(ONE)
    blend.begin(np.ones((3, 3)), T0)
    assert sampled(blend, T0 + MS).any()
    blend.forget()
    assert not sampled(blend, T0 + MS).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_offset_that_is_no_number_is_no_seam(bad: float) -> None:
    blend, offset = Blend(ONE), np.zeros((3, 3))
    offset[0, 1] = bad
    blend.begin(offset, T0)
    assert not sampled(blend, T0 + MS).any()
