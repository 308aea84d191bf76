"""How strongly a guided flow is pulled, against the paper's formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_runtime.policies.guidance import soft_mask, strengths


@pytest.mark.parametrize("steps", [1, 2, 4, 10])
def test_strengths_are_those_of_equation_2(steps: int) -> None:
    wanted = [5.0]
    for k in range(1, steps):
        tau = k / steps
        r2 = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
        wanted.append(min(5.0, (1 - tau) / (tau * r2)))
    np.testing.assert_allclose(strengths(steps), wanted, rtol=1e-12)


def test_the_pull_is_weakest_half_way() -> None:
    found = strengths(10)
    assert found.argmin() == 5
    assert found[5] == pytest.approx(2.0)
    assert (found <= 5.0).all()


@pytest.mark.parametrize(("committed", "known"), [(2, 6), (0, 6), (3, 3), (0, 0), (2, 10), (10, 10)])
def test_rows_count_as_in_equation_5(committed: int, known: int) -> None:
    got = np.full(10, np.nan, np.float32)
    soft_mask(committed, known, got)
    for row in range(10):
        c = (known - row) / (known - committed + 1)
        between = c * (math.exp(c) - 1) / (math.e - 1)
        wanted = 1.0 if row < committed else between if row < known else 0.0
        assert got[row] == pytest.approx(wanted, abs=1e-6)


def test_rows_count_less_the_later_they_are() -> None:
    got = np.zeros(8, np.float32)
    soft_mask(2, 6, got)
    assert (got[:2] == 1.0).all()
    assert (np.diff(got[1:7]) < 0).all()
    assert (got[6:] == 0.0).all()
