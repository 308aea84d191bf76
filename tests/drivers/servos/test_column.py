"""Many registers at once are decoded as one is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers.dynamixel import x as dynamixel_x
from drivers.feetech import sts as feetech_sts
from drivers.servos.column import Column
from drivers.servos.registers import Register

REGISTERS = [
    feetech_sts.PRESENT_POSITION,
    feetech_sts.HOMING_OFFSET,
    dynamixel_x.PRESENT_POSITION,
    dynamixel_x.PRESENT_CURRENT,
    dynamixel_x.PRESENT_VOLTAGE,
]


@given(st.sampled_from(REGISTERS), st.lists(st.binary(min_size=12, max_size=12), min_size=1, max_size=7))
def test_every_row_is_decoded_as_the_register_says(register: Register, rows: list[bytes]) -> None:
    data = bytearray(b"".join(rows))
    expected = [register.decode(int.from_bytes(row[3 : 3 + register.size], "little")) for row in rows]
    assert Column(register, data, 12, register.address - 3).counts() == expected


def test_it_reads_what_the_buffer_holds_now() -> None:
    register, data = dynamixel_x.PRESENT_POSITION, bytearray(8)
    column = Column(register, data, 4, register.address)
    data[:] = (7).to_bytes(4, "little") + (-3 & 0xFFFFFFFF).to_bytes(4, "little")
    assert column.counts() == [7, -3]
