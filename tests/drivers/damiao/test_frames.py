"""Frames of Damiao motors: vectors that others have published, and round trips."""

from __future__ import annotations

import struct

import pytest

from drivers.damiao import frames
from drivers.damiao import motors as dm
from drivers.damiao.frames import Command, Frame, State

hypothesis = pytest.importorskip("hypothesis")
given, st = hypothesis.given, hypothesis.strategies

ids = st.integers(1, frames.MAX_ID)
positions, others = st.integers(0, 0xFFFF), st.integers(0, 0xFFF)
eight_bytes = st.binary(min_size=8, max_size=8)


def hex_of(frame: Frame) -> tuple[int, str]:
    return frame.id, bytes(frame.data).hex(" ")


def test_special_frames() -> None:
    assert hex_of(frames.special(1, frames.ENABLE)) == (1, "ff ff ff ff ff ff ff fc")
    assert hex_of(frames.special(2, frames.DISABLE)) == (2, "ff ff ff ff ff ff ff fd")
    assert hex_of(frames.special(3, frames.SET_ZERO)) == (3, "ff ff ff ff ff ff ff fe")
    assert hex_of(frames.special(4, frames.CLEAR_ERROR)) == (4, "ff ff ff ff ff ff ff fb")


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (Command(0x7FFF, 0x7FF, 0, 0, 0x7FF), "7f ff 7f f0 00 00 07 ff"),  # nothing at all, as all clients send it
        (Command(31194, 2047, 819, 1638, 2047), "79 da 7f f3 33 66 67 ff"),  # -0.6 rad, 100 N·m/rad, 2 N·m·s/rad
    ],
)
def test_published_commands(counts: Command, expected: str) -> None:
    assert hex_of(frames.command(5, counts)) == (5, expected)
    assert frames.parse_command(bytes.fromhex(expected)) == counts


def test_gains_of_the_published_command() -> None:
    assert frames.gain_counts(100, 2) == (819, 1638)
    assert frames.gain_counts(1e9, -1) == (4095, 0)


def test_a_published_recording_of_a_motors_state() -> None:
    data = bytes.fromhex("16 99 21 7f e7 ff 28 00")
    assert frames.is_state(6, data)
    assert not frames.is_state(1, data)
    assert frames.parse_state(data) == State(dm.ON, 0x9921, 0x7FE, 0x7FF, 40, 0)


def test_register_frames() -> None:
    assert hex_of(frames.refresh(3)) == (0x7FF, "03 00 cc 00 00 00 00 00")
    assert hex_of(frames.read(3, dm.P_MAX)) == (0x7FF, "03 00 33 15 00 00 00 00")
    assert hex_of(frames.write(3, dm.CONTROL_MODE, 1)) == (0x7FF, "03 00 55 0a 01 00 00 00")
    assert hex_of(frames.write(3, dm.TIMEOUT, 2.0)) == (0x7FF, "03 00 55 09 40 9c 00 00")  # 40,000 times 50 µs
    answer = frames.register_answer(3, frames.READ, dm.P_MAX, 12.5)
    assert hex_of(answer) == (0x13, "03 00 33 15 00 00 48 41")
    assert dm.P_MAX.unpack(answer.data[4:]) == 12.5
    assert frames.is_register(3, answer.data, frames.READ, dm.P_MAX)
    assert not frames.is_register(3, answer.data, frames.READ, dm.V_MAX)
    assert not frames.is_register(3, answer.data, frames.WRITE, dm.P_MAX)
    assert not frames.is_state(3, answer.data)


def test_a_value_that_does_not_fit_a_register() -> None:
    with pytest.raises(struct.error):
        dm.CONTROL_MODE.pack(-1)


def test_torque_constants_are_those_of_the_data_sheets_flux_linkages() -> None:
    flux_wb = {"dm3507": 0.0037, "dm4310": 0.0045, "dm4340": 0.00485, "dm6006": 0.0058, "dm8006": 0.0054}
    flux_wb |= {"dm8009": 0.00445, "dm10010": 0.00825, "dm10010l": 0.00635}
    for name, model in dm.MODELS.items():
        assert model.nm_per_a == pytest.approx(1.5 * model.pole_pairs * flux_wb[name] * model.gear_ratio)


@pytest.mark.parametrize("status", range(16))
def test_every_status_has_words_or_is_none(status: int) -> None:
    assert bool(dm.fault(status)) == (status not in (dm.OFF, dm.ON))


@given(eight_bytes)
def test_any_bytes_are_a_command_and_a_state(data: bytes) -> None:
    assert frames.command(1, frames.parse_command(data)).data == data
    told = frames.parse_state(data)
    assert frames.state(data[0] & 0xF, told).data == data


@given(ids, st.tuples(positions, others, others, others, others))
def test_commands_come_back(id: int, counts: tuple[int, int, int, int, int]) -> None:
    frame = frames.command(id, Command(*counts))
    assert frame.id == id
    assert frames.parse_command(frame.data) == counts


@given(st.sampled_from(list(dm.MODELS.values())), st.floats(-1, 1))
def test_quantities_come_back_within_half_a_count(model: dm.Model, share: float) -> None:
    for top, bits in ((model.p_max_rad, 16), (model.v_max_rad_s, 12), (model.t_max_nm, 12)):
        value = share * top
        half = top / ((1 << bits) - 1)
        count = frames.to_count(value, -top, top, bits)
        assert frames.from_count(count, -top, top, bits) == pytest.approx(value, abs=half * (1 + 1e-9))
        assert frames.to_count(top * 9, -top, top, bits) == (1 << bits) - 1
        assert frames.to_count(-top * 9, -top, top, bits) == 0
