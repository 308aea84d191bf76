"""Registers: negative counts as sign and magnitude or as two's complement, and what does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.servos.registers import Register

PLAIN, SIGN_BIT, SIGNED = Register(0, 2), Register(2, 2, sign_bit=11), Register(4, 2, signed=True)


@pytest.mark.parametrize(
    ("register", "raw", "count"),
    [
        (PLAIN, 0xFFFF, 65_535),
        (SIGN_BIT, 100, 100),
        (SIGN_BIT, 1 << 11 | 100, -100),
        (SIGNED, 0x7FFF, 32_767),
        (SIGNED, 0xFFFF, -1),
        (SIGNED, 0x8000, -32_768),
    ],
)
def test_bytes_become_counts_and_back(register: Register, raw: int, count: int) -> None:
    assert register.decode(raw) == count
    assert register.encode(count) == raw


def bounds(register: Register) -> tuple[int, int]:
    """The smallest and the largest count that fit."""
    if register.signed:
        return -(1 << 8 * register.size - 1), (1 << 8 * register.size - 1) - 1
    high = (1 << (register.sign_bit or 8 * register.size)) - 1
    return (-high if register.sign_bit else 0), high


@given(st.sampled_from([PLAIN, SIGN_BIT, SIGNED]), st.data())
def test_what_fits_survives_and_what_does_not_is_refused(register: Register, data: st.DataObject) -> None:
    low, high = bounds(register)
    count = data.draw(st.integers(low, high))
    assert register.decode(register.encode(count)) == count
    for bad in (low - 1, high + 1):
        with pytest.raises(ValueError, match=f"{bad} does not fit the register at address {register.address}"):
            register.encode(bad)
