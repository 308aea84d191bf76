"""A seam's offset: it begins as it was given, ends at nothing, and keeps its share of the limits on the way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.blend import GROWTH, SHARE, Blend
from edge_runtime.limits import Limits
from edge_runtime.reference import Reference
from tests.edge_runtime.motion import MS, ONE, T0, bounds, triple

EVEN = np.zeros(3)


def sampled(blend: Blend, t_ns: int) -> np.ndarray:
    """What the blend adds [3, n]."""
    out = Reference(3)
    blend.add(t_ns, out)
    return np.array([out.position_rad, out.velocity_rad_s, out.acceleration_rad_s2])


offsets = st.tuples(triple, triple, triple)


@given(bounds, offsets)
def test_it_leads_from_the_offset_to_nothing_within_its_share(at: Limits, offset: tuple) -> None:
    blend, given_ = Blend(at), np.array(offset)
    blend.begin(given_, T0)
    if not given_.any():
        assert blend.duration_ns == 0
        return
    np.testing.assert_allclose(sampled(blend, T0), given_, atol=1e-9)
    assert (sampled(blend, T0 + blend.duration_ns) == 0.0).all()
    times = np.linspace(0, blend.duration_ns - 1, 400).astype(int)
    rows = np.array([sampled(blend, T0 + int(t)) for t in times])
    np.testing.assert_allclose(rows[-1], 0.0, atol=1e-3)
    jerk = np.diff(rows[:, 2], axis=0) / (np.diff(times)[:, None] / 1e9)
    assert (np.abs(jerk) <= SHARE * at.jerk * 1.0001 + 1e-6).all()
    bend = np.abs(rows[:, 2]) - np.abs(given_[2])  # what it begins with it cannot help
    assert (bend <= SHARE * at.acceleration * 1.0001 + 1e-6).all()


@pytest.mark.parametrize(
    ("offset", "seconds"),
    [
        ((1.0, 0.0, 0.0), (60.0 / 25.0) ** (1 / 3)),
        ((0.0, 1.0, 0.0), 3.94 / 2.5),
        ((0.0, 0.0, 2.0), 9.0 * 2.0 / 25.0),
    ],
)
def test_it_takes_no_longer_than_the_tightest_limit_demands(offset: tuple, seconds: float) -> None:
    """Of ONE: half of 5 rad/s² and of 50 rad/s³. A lone distance: its acceleration asks for (5.77/2.5)^½ = 1.52 s."""
    blend = Blend(ONE)
    blend.begin(np.outer(offset, [1.0, 0.5, 0.0]), T0)
    floor = max(seconds, (5.7735 / 2.5) ** 0.5 if offset[0] else 0.0)
    assert floor <= blend.duration_ns / 1e9 <= floor * GROWTH


def test_a_forgotten_seam_adds_nothing() -> None:
    blend = Blend(ONE)
    blend.begin(np.ones((3, 3)), T0)
    assert sampled(blend, T0 + MS).any()
    blend.forget()
    assert not sampled(blend, T0 + MS).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e123])
def test_an_offset_that_is_no_number_is_no_seam(bad: float) -> None:
    blend, offset = Blend(ONE), np.zeros((3, 3))
    offset[0, 1] = bad
    blend.begin(offset, T0)
    assert blend.duration_ns == 0
