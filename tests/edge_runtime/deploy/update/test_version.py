"""Versions: which is the newer one is never in doubt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.deploy.update.version import order, refuse_older
from edge_runtime.errors import UpdateError

NUMBERS = st.lists(st.integers(0, 999_999_999), min_size=1, max_size=4)


def written(numbers: list[int]) -> str:
    return ".".join(map(str, numbers))


@given(NUMBERS, NUMBERS)
def test_numbers_count_and_not_their_digits(one: list[int], other: list[int]) -> None:
    longest = max(len(one), len(other))
    padded = [numbers + [0] * (longest - len(numbers)) for numbers in (one, other)]
    assert (order(written(one)) < order(written(other))) == (padded[0] < padded[1])


@given(st.text(max_size=20))
def test_any_text_has_an_order_or_is_refused(text: str) -> None:
    try:
        assert written(list(order(text))).startswith(text)
    except UpdateError:
        assert not text.isascii() or not text.replace(".", "").isdigit() or ".." in f".{text}." or _odd(text)


def _odd(text: str) -> bool:
    """Leading zeros, too many numbers, or one too long."""
    parts = text.split(".")
    return len(parts) > 4 or any(len(part) > 9 or (len(part) > 1 and part[0] == "0") for part in parts)


@pytest.mark.parametrize(
    "text", ["", "1.", "v1", "1.2-rc1", "1.2.3.4.5", "01.2", "1\n", "²", "1 2", "1.2.3+x", "9" * 10]
)
def test_what_cannot_be_compared_is_refused(text: str) -> None:
    with pytest.raises(UpdateError, match="one to four numbers"):
        order(text)


def test_only_an_older_one_is_refused() -> None:
    refuse_older("1.10", "1.9.9")
    refuse_older("1.2", "1.2.0")
    refuse_older("1", None)
    with pytest.raises(UpdateError, match=r"version 1\.9 is older than 1\.10, which runs"):
        refuse_older("1.9", "1.10")


def test_a_version_that_nobody_can_read_is_no_way_around_it() -> None:
    with pytest.raises(UpdateError, match="one to four numbers"):
        refuse_older("2.0", "unreadable")
