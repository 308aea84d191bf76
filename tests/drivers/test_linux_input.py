"""Linux input events: bytes in any pieces, names and numbers, and one line for what is no input device."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import Disconnected, DriverError
from drivers.linux_input import EVENT, Event, InputDevice, Parser, axis_code, key_code


def test_an_event_is_what_a_64_bit_kernel_writes() -> None:
    """struct input_event of input.h written out by hand: seconds, microseconds, EV_KEY, KEY_A (30), pressed."""
    if struct.calcsize("l") != 8:
        pytest.skip("a 32-bit kernel writes 16 bytes an event")
    raw = bytes.fromhex("a3c55e67 00000000 d83c0b00 00000000 0100 1e00 01000000")
    assert list(Parser().feed(raw)) == [Event(1, 30, 1)]


@given(
    st.lists(st.tuples(st.integers(0, 31), st.integers(0, 0x2FF), st.integers(-(2**31), 2**31 - 1))),
    st.lists(st.integers(1, 100)),
)
def test_events_are_the_same_however_their_bytes_are_cut(events: list[tuple[int, int, int]], cuts: list[int]) -> None:
    raw, parser, found = b"".join(EVENT.pack(1, 2, *event) for event in events), Parser(), []
    for size in [*cuts, len(raw)]:
        found += parser.feed(raw[:size])
        raw = raw[size:]
    assert found == events


@given(st.binary(max_size=500))
def test_any_bytes_are_events_or_wait_for_more(raw: bytes) -> None:
    assert len(list(Parser().feed(raw))) == len(raw) // EVENT.size


def test_keys_and_axes_by_name_and_by_number() -> None:
    assert key_code("e-stop", "BTN_SOUTH") == key_code("e-stop", "304") == 304
    assert axis_code("gamepad", "ABS_HAT0Y") == 17


@pytest.mark.parametrize("name", ["BTN_SUOTH", "", "-1", "768", "²", "1.0"])
def test_what_is_no_key_is_refused_with_what_is(name: str) -> None:
    with pytest.raises(DriverError, match="there is no key") as caught:
        key_code("e-stop left", name)
    assert "BTN_SOUTH" in str(caught.value)


def test_an_axis_beyond_the_last_is_refused() -> None:
    with pytest.raises(DriverError, match='there is no axis "64"'):
        axis_code("gamepad", "64")


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    device = InputDevice("e-stop left", str(tmp_path / "event9"))
    with pytest.raises(Disconnected, match="there is no such device"):
        device.open()
    with pytest.raises(Disconnected, match="not open"):
        device.events(0.0)
    device.close()


def test_a_file_that_is_no_input_device(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    device = InputDevice("e-stop left", str(tmp_path / "file"))
    device.open()
    with pytest.raises(Disconnected, match="no input device"):
        device.has_key(304)
    device.close()
    device.close()


def test_a_device_that_ends_has_gone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "event0")
    writer = os.open(tmp_path / "event0", os.O_RDWR)
    device = InputDevice("e-stop left", str(tmp_path / "event0"))
    device.open()
    assert device.events(0.0) == []
    os.close(writer)
    with pytest.raises(Disconnected, match="gone away"):
        device.events(1.0)
    device.close()
