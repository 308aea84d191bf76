"""The serial port over a pseudo-terminal: deadlines in both directions."""

from __future__ import annotations

import os
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.errors import Disconnected, Timeout
from drivers.serial_port import SerialPort
from tests.drivers.babble import babble
from tests.drivers.kept_bytes import KeptBytes


@pytest.fixture
def ends() -> Iterator[tuple[SerialPort, int]]:
    master, slave = os.openpty()
    tty.setraw(slave)
    port = SerialPort("bus arm", os.ttyname(slave), 1_000_000)
    port.open()
    yield port, master
    port.close()
    os.close(master)
    os.close(slave)


def soon(milliseconds: float) -> int:
    return time.monotonic_ns() + round(milliseconds * 1e6)


def test_bytes_go_both_ways_unchanged(ends: tuple[SerialPort, int]) -> None:
    port, master = ends
    every = bytes(range(256))  # control characters, carriage returns and all
    port.write(every, soon(1000))
    assert os.read(master, 300) == every
    os.write(master, every)
    buffer, got = bytearray(300), 0
    while got < 256:
        got += port.read_into(memoryview(buffer)[got:], soon(1000))
    assert buffer[:256] == every


def test_reading_gives_up_at_the_deadline(ends: tuple[SerialPort, int]) -> None:
    port, _ = ends
    start = time.monotonic()
    assert port.read_into(memoryview(bytearray(9)), soon(20)) == 0
    assert 0.02 <= time.monotonic() - start < 0.15


def test_writing_gives_up_at_the_deadline(ends: tuple[SerialPort, int]) -> None:
    port, _ = ends
    with pytest.raises(Timeout, match="takes no more bytes"):
        port.write(bytes(1_000_000), soon(50))


def test_discarding_leaves_nothing(ends: tuple[SerialPort, int]) -> None:
    port, master = ends
    os.write(master, bytes(1000))
    time.sleep(0.05)
    port.discard_input(memoryview(bytearray(64)), soon(1000))
    assert port.read_into(memoryview(bytearray(9)), soon(20)) == 0


def test_a_line_that_never_falls_silent_is_left_at_the_deadline(ends: tuple[SerialPort, int], tmp_path: Path) -> None:
    port, _ = ends
    with babble(tmp_path) as port._fd:
        end_ns = soon(20)
        port.discard_input(memoryview(bytearray(64)), end_ns)
        assert end_ns <= time.monotonic_ns() < end_ns + 500_000_000


def test_another_speed_for_now(ends: tuple[SerialPort, int]) -> None:
    port, master = ends
    assert port.set_baud(57_600)
    assert termios.tcgetattr(master)[5] == termios.B57600
    os.write(master, b"still there")
    assert port.read_into(memoryview(bytearray(20)), soon(1000)) == 11
    assert not port.set_baud(-1)


def test_closed_means_disconnected(ends: tuple[SerialPort, int]) -> None:
    port, _ = ends
    port.close()
    port.close()
    assert not port.is_open
    with pytest.raises(Disconnected, match="not open"):
        port.read_into(memoryview(bytearray(9)), soon(20))


def test_a_tap_is_shown_every_byte_also_those_that_are_thrown_away(ends: tuple[SerialPort, int]) -> None:
    port, master = ends
    port.tap = tap = KeptBytes()
    os.write(master, b"late")
    time.sleep(0.05)
    port.discard_input(memoryview(bytearray(64)), soon(1000))
    port.discard_input(memoryview(bytearray(64)), soon(1000))
    port.write(b"question", soon(1000))
    os.read(master, 100)
    os.write(master, b"answer")
    buffer = bytearray(64)
    assert port.read_into(memoryview(buffer), soon(1000)) == 6
    port.read_into(memoryview(buffer), soon(1))
    assert tap.seen == [("<", b"late"), (">", b"question"), ("<", b"answer")]


def test_a_tap_is_shown_what_went_out_before_the_port_took_no_more(ends: tuple[SerialPort, int]) -> None:
    port, master = ends
    port.tap = tap = KeptBytes()
    with pytest.raises(Timeout):
        port.write(bytes(range(256)) * 4000, soon(50))
    taken, sent = b"", tap.all(">")
    while len(taken) < len(sent):
        taken += os.read(master, 65_536)
    assert taken == sent
