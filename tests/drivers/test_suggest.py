"""Did you mean: the nearest name, whatever its capitals; or all of them; or nothing."""

from __future__ import annotations

import pytest

from drivers.suggest import did_you_mean
from edge_runtime.suggest import did_you_mean as above

MODELS = ("xm430-w350", "xm430-w210", "xh430-w350", "sts3215")


@pytest.mark.parametrize(
    ("name", "known", "says"),
    [
        ("XM430-W350", MODELS, ', did you mean "xm430-w350"?'),
        ("STS3251", MODELS, ', did you mean "sts3215"?'),
        ("abs_x", ("ABS_X", "ABS_RY"), ', did you mean "ABS_X"?'),
        ("zzz", ("Beta", "alpha"), "; known: Beta, alpha"),
        (2, (-1, 1), "; known: -1, 1"),
        ("x", (), ""),
    ],
)
def test_the_nearest_or_all(name: object, known: tuple[object, ...], says: str) -> None:
    assert did_you_mean(name, known) == above(name, known) == says
