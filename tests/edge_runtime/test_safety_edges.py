"""The limiter at the edges: limits and periods as extreme as robot.toml takes them, references exactly at the limits,
chunks that end and chunks that disagree, arms found outside their range."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.brake import Brake
from edge_runtime.guard import SLACK, Guard
from edge_runtime.limits import Limits
from edge_runtime.reference import Reference
from edge_runtime.safety import Limiter

State = tuple[float, float, float]
Wish = State | None
"""Position, velocity, acceleration; None: rest."""

LEAST = math.radians(1e-3)
"""The lowest limit that robot.toml takes: 0.001 degrees."""
RANGES = ((-1.0, 1.2), (-1e-4, 1e-4), (0.3, 2.7), (-500.0, 500.0), (7.0, 7.01))

limit = st.one_of(st.sampled_from([LEAST, 1e-3, 1.0, 1e3, 1e5]), st.floats(-4.7, 5.0).map(lambda x: 10.0**x))
limits = st.tuples(limit, limit, limit)
usual = st.sampled_from([(2.5, 15.0, 150.0), (2.5, 15.0, 1500.0), (0.5, 3.0, 5.0), (1.1, 1.2, 2900.0)])
periods = st.sampled_from([0.001, 0.002, 0.005, 0.01, 0.02])
part = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(-0.2, 1.2))
share = st.one_of(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-1.5, 1.5))
nudge = st.sampled_from([-1, 0, 0, 1])


def nudged(x: float, way: int) -> float:
    """The figure itself, or the next one to a side."""
    return math.nextafter(x, way * math.inf) if way else x


class Watched:
    """One joint's limiter, held to the invariant at every tick."""

    def __init__(self, span: tuple[float, float], limits: State, period_s: float, start: float) -> None:
        one = [np.array([x]) for x in (*span, *limits)]
        self.limiter = Limiter(Limits(("joint",), *one), period_s)
        self.limiter.start_from(np.array([start]))
        self.guard: Guard = self.limiter._guards[0]
        self.lowest, self.highest = min(span[0], start), max(span[1], start)
        self._span, self._wanted, self._out = span, Reference(1), np.zeros(1)
        self._brake = Brake(limits[1], limits[2])

    def tick(self, wish: Wish) -> None:
        guard, wanted = self.guard, self._wanted
        before = guard.p, guard.v, guard.a
        wanted.rest = wish is None
        if wish is not None:
            wanted.position_rad[0], wanted.velocity_rad_s[0], wanted.acceleration_rad_s2[0] = wish
        self.limiter.limit(wanted, self._out)
        assert self._out[0] == guard.p
        self._within()
        self._reached(before)

    def _within(self) -> None:
        """Limits, and a stop inside the range, which does not grow again once the joint has come in."""
        g = self.guard
        assert abs(g.a) <= g.acceleration * (1 + 2 * SLACK)
        assert abs(g.v) <= g.velocity * (1 + 2 * SLACK)
        assert abs(g.v + g.a * abs(g.a) / (2 * g.jerk)) <= g.velocity * (1 + 2 * SLACK)
        self._brake.plan(g.p, g.v, g.a)
        slack = 2 * SLACK + 1e-12 * abs(g.p)
        assert self.lowest - slack <= self._brake.lowest
        assert self._brake.highest <= self.highest + slack
        self.lowest = min(self._span[0], max(self.lowest, self._brake.lowest - slack))
        self.highest = max(self._span[1], min(self.highest, self._brake.highest + slack))

    def _reached(self, before: State) -> None:
        """Bounded jerk leads there within the period."""
        g, t, (p, v, a) = self.guard, self.guard.period_s, before
        rounding = (3e-12 + 1e-14 * abs(p)) / t**2
        slack_a = 2 * SLACK * g.acceleration + rounding
        slack_v = slack_a * t + 2 * SLACK * g.velocity
        assert abs(g.a - a) <= g.jerk * t * (1 + 1e-6) + slack_a
        assert abs(g.v - v - 0.5 * t * (a + g.a)) <= g.jerk * t**2 / 4 * (1 + 1e-5) + slack_v
        assert abs(g.p - p - t * v - 0.5 * t**2 * a) <= g.jerk * t**3 / 6 * (1 + 1e-5) + slack_v * t + 1e-12


def chunk(rows: list[float], dt_s: float, period_s: float, rests: bool) -> Iterator[Wish]:
    """From action to action by cubics with central differences; then rest at the last one, or rest at once."""
    slopes = np.gradient(np.array(rows), dt_s) if len(rows) > 1 else np.zeros(1)
    for k in range(int((len(rows) - 1) * dt_s / period_s)):
        i, x = divmod(k * period_s / dt_s, 1.0)
        a, b = rows[int(i)], rows[int(i) + 1]
        u, w = slopes[int(i)] * dt_s, slopes[int(i) + 1] * dt_s
        c2, c3 = 3 * (b - a) - 2 * u - w, 2 * (a - b) + u + w
        yield (
            a + x * (u + x * (c2 + x * c3)),
            (u + x * (2 * c2 + x * 3 * c3)) / dt_s,
            (2 * c2 + 6 * x * c3) / dt_s**2,
        )
    while True:
        yield (rows[-1], 0.0, 0.0) if rests else None


rows = st.lists(part, min_size=1, max_size=8)
chunks = st.lists(
    st.tuples(rows, st.sampled_from([0.02, 0.033, 0.1]), st.booleans(), st.integers(1, 60)), min_size=1, max_size=5
)


@settings(max_examples=120)
@given(st.sampled_from(RANGES), st.one_of(usual, limits), periods, part, chunks)
def test_chunks_that_end_and_chunks_that_disagree(
    span: tuple[float, float], limits: State, period_s: float, start: float, script: list
) -> None:
    """Each is followed for a while, and then another one begins somewhere else."""
    low, wide = span[0], span[1] - span[0]
    arm = Watched(span, limits, period_s, low + start * wide)
    for actions, dt_s, rests, ticks in script:
        wishes = chunk([low + x * wide for x in actions], dt_s, period_s, rests)
        for _, wish in zip(range(ticks), wishes, strict=False):
            arm.tick(wish)


at_the_limits = st.lists(
    st.tuples(st.tuples(part, nudge), st.tuples(share, nudge), st.tuples(share, nudge), st.integers(1, 30)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=120)
@given(st.sampled_from(RANGES), st.one_of(usual, limits), periods, part, at_the_limits)
def test_references_at_their_limits_and_a_last_bit_to_either_side(
    span: tuple[float, float], limits: State, period_s: float, start: float, script: list
) -> None:
    low, high = span
    arm = Watched(span, limits, period_s, low + start * (high - low))
    for (x, dp), (v, dv), (a, da), ticks in script:
        p = low if x == 0.0 else high if x == 1.0 else low + x * (high - low)
        for _ in range(ticks):
            arm.tick((nudged(p, dp), nudged(v * limits[0], dv), nudged(a * limits[1], da)))


@settings(max_examples=80)
@given(
    st.sampled_from(RANGES),
    st.one_of(usual, limits),
    periods,
    st.sampled_from([-1.0, 1.0]),
    st.floats(-12.0, 2.0),
    st.lists(st.tuples(st.one_of(part, st.just(math.nan)), st.integers(1, 60)), min_size=1, max_size=6),
)
def test_a_joint_found_outside_comes_in_and_does_not_go_out(
    span: tuple[float, float], limits: State, period_s: float, side: float, beyond: float, script: list
) -> None:
    """By as little as rounding, and by many turns."""
    start = (span[1] if side > 0.0 else span[0]) + side * 10.0**beyond
    arm = Watched(span, limits, period_s, start)
    for x, ticks in script:
        for _ in range(ticks):
            arm.tick((span[0] + x * (span[1] - span[0]), 0.0, 0.0))


@pytest.mark.parametrize("period_s", [0.001, 0.005, 0.02])
@pytest.mark.parametrize("limits", [(2.5, 15.0, 150.0), (1e5, 15.0, 150.0), (2.5, 1e5, 1e5), (2.5, 15.0, 1e9)])
def test_a_jump_as_wide_as_the_range_is_gone_after_and_met(limits: State, period_s: float) -> None:
    arm = Watched((-1.0, 1.2), limits, period_s, -1.0)
    for to in (1.2, -1.0, 0.0):
        for _ in range(round(3.0 / period_s)):
            arm.tick((to, 0.0, 0.0))
            if arm.limiter.at_rest and arm.guard.p == to:
                break
        assert arm.guard.p == to
