"""A seam's offset: it begins as it was given, fades to nothing, and seams that follow each other are as one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.blend import OVER, RATE_PER_S, Blend
from edge_runtime.reference import Reference
from tests.edge_runtime.motion import MS, T0, triple

offsets = st.tuples(triple, triple, triple)


def sampled(blend: Blend, t_ns: int) -> np.ndarray:
    """What the blend adds [3, n]."""
    out = Reference(3)
    blend.add(t_ns, out)
    return np.array([out.position_rad, out.velocity_rad_s, out.acceleration_rad_s2])


@given(offsets)
def test_it_begins_as_the_offset_is_and_fades_to_nothing(offset: tuple) -> None:
    blend = Blend(3)
    blend.begin(np.array(offset), T0)
    np.testing.assert_allclose(sampled(blend, T0), offset, atol=1e-12)
    over_ns = round(OVER / RATE_PER_S * 1e9)
    assert np.abs(sampled(blend, T0 + over_ns - MS)).max() < 1e-3
    assert (sampled(blend, T0 + over_ns + MS) == 0.0).all()


@given(offsets, st.lists(st.integers(1, 100), max_size=5))
def test_seams_before_the_last_one_is_over_change_nothing(offset: tuple, pauses_ms: list) -> None:
    """New chunks that agree with the old one: each begins with what is left, and the arm goes where it would have."""
    once, again, t_ns = Blend(3), Blend(3), T0
    once.begin(np.array(offset), T0)
    again.begin(np.array(offset), T0)
    for pause_ms in pauses_ms:
        t_ns += pause_ms * MS
        again.begin(sampled(again, t_ns), t_ns)
    for after_ms in (0, 30, 200):
        expected = sampled(once, t_ns + after_ms * MS)
        np.testing.assert_allclose(sampled(again, t_ns + after_ms * MS), expected, atol=1e-6)


def test_its_derivatives_are_those_of_its_position() -> None:
    blend = Blend(3)
    blend.begin(np.array([[0.1, -0.2, 0.0], [1.0, 0.0, -0.5], [0.0, 3.0, 1.0]]), T0)
    rows = np.array([sampled(blend, T0 + k * MS // 10) for k in range(4000)])
    for derivative in (1, 2):
        found = np.gradient(rows[:, derivative - 1], 1e-4, axis=0)
        np.testing.assert_allclose(found[1:-1], rows[1:-1, derivative], atol=1e-3)


def test_a_lone_distance_asks_for_the_peaks_that_are_said() -> None:
    blend = Blend(3)
    blend.begin(np.array([[0.1] * 3, [0.0] * 3, [0.0] * 3]), T0)
    bends = np.array([sampled(blend, T0 + k * MS // 10)[2] for k in range(5_000)])
    assert np.abs(bends).max() == pytest.approx(7.5, rel=0.01)
    assert np.abs(np.diff(bends, axis=0) / 1e-4).max() == pytest.approx(583.0, rel=0.01)


def test_a_forgotten_seam_adds_nothing() -> None:
    blend = Blend(3)
    blend.begin(np.ones((3, 3)), T0)
    assert sampled(blend, T0 + MS).any()
    blend.forget()
    assert not sampled(blend, T0 + MS).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_offset_that_is_no_number_is_no_seam(bad: float) -> None:
    blend, offset = Blend(3), np.zeros((3, 3))
    offset[0, 1] = bad
    blend.begin(offset, T0)
    assert not sampled(blend, T0 + MS).any()
