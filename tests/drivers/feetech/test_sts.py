"""Registers: signs as sign and magnitude, and the bits of the status byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.feetech import sts
from drivers.servos.registers import names_of

REGISTERS = [r for r in vars(sts).values() if isinstance(r, sts.Register)]


def test_registers_do_not_overlap() -> None:
    taken = [address for r in REGISTERS for address in range(r.address, r.address + r.size)]
    assert len(taken) == len(set(taken)) > 40


@pytest.mark.parametrize(("raw", "count"), [(100, 100), (0x8064, -100), (0x8000, 0), (0x7FFF, 32767), (0xFFFF, -32767)])
def test_speed_is_sign_and_magnitude(raw: int, count: int) -> None:
    assert sts.PRESENT_SPEED.decode(raw) == count


def test_load_has_its_sign_in_bit_ten() -> None:
    assert sts.PRESENT_LOAD.decode(0x0400 | 250) == -250
    assert sts.PRESENT_LOAD.encode(-250) == 0x0400 | 250


@given(st.sampled_from(REGISTERS), st.data())
def test_what_is_encoded_decodes_to_itself(register: sts.Register, data: st.DataObject) -> None:
    high = (1 << (register.sign_bit or 8 * register.size)) - 1
    count = data.draw(st.integers(-high if register.sign_bit else 0, high))
    assert register.decode(register.encode(count)) == count


@pytest.mark.parametrize(
    ("register", "count"),
    [(sts.GOAL_POSITION, 32768), (sts.GOAL_POSITION, -32768), (sts.TORQUE_ENABLE, -1), (sts.ID, 256)],
)
def test_what_does_not_fit_is_refused(register: sts.Register, count: int) -> None:
    with pytest.raises(ValueError, match=f"address {register.address}"):
        register.encode(count)


def test_faults_are_named_and_other_bits_are_none() -> None:
    assert names_of(sts.TEMPERATURE | sts.OVERLOAD, sts.FAULTS) == "too hot, overload"
    assert names_of(0x10, sts.FAULTS) == ""  # bit 4 is not a fault
