"""The simulated adapter: when bytes arrive at the host, and what a pulled cable looks like."""

from __future__ import annotations

import os
import select
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.feetech import packets
from drivers.sim.adapter import Adapter
from drivers.sim.feetech_device import FeetechDevice
from drivers.sim.ports import PseudoTerminal
from tests.drivers.fake_joints import FakeJoints

SLACK_S = 0.5
"""For a machine that stands still; the lower bounds are what is held."""


def serve(tmp_path: Path, baud: int, usb_latency_ns: int) -> Iterator[tuple[int, Adapter]]:
    device = FeetechDevice(FakeJoints(), baud=baud)
    adapter = Adapter(PseudoTerminal(tmp_path / "arm", baud), device.feed, device.idle, baud, usb_latency_ns)
    host = os.open(tmp_path / "arm", os.O_RDWR | os.O_NOCTTY)
    yield host, adapter
    os.close(host)
    adapter.close()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[tuple[int, Adapter]]:
    yield from serve(tmp_path, 9600, 0)


@pytest.fixture
def framed(tmp_path: Path) -> Iterator[tuple[int, Adapter]]:
    yield from serve(tmp_path, 1_000_000, 40_000_000)


def answer(host: int, size: int, asked: float | None = None) -> tuple[list[float], bytes]:
    """Times, from `asked` (now) on, at which pieces of the answer came, and its bytes."""
    start, times, data = time.monotonic() if asked is None else asked, [], b""
    while len(data) < size and select.select([host], [], [], 2.0)[0]:
        data += os.read(host, 4096)
        times.append(time.monotonic() - start)
    return times, data


def test_bytes_are_paced_at_the_baud_rate(slow: tuple[int, Adapter]) -> None:
    host, _ = slow
    asked = time.monotonic()
    os.write(host, packets.sync_read((1, 2), 56, 4))
    times, data = answer(host, 20, asked)
    request_s, answer_s = 10 * 10 / 9600, 10 * 10 / 9600
    assert len(data) == 20
    assert request_s + answer_s <= times[0] < request_s + answer_s + SLACK_S
    assert request_s + 2 * answer_s <= times[-1] < request_s + 2 * answer_s + SLACK_S


def test_a_usb_frame_hands_over_all_that_came_in_it(framed: tuple[int, Adapter]) -> None:
    host, _ = framed
    asked = time.monotonic()
    os.write(host, packets.sync_read(range(1, 7), 56, 4))
    times, data = answer(host, 60, asked)
    assert len(data) == 60
    assert 0.04 <= times[0] < 0.04 + SLACK_S


def test_what_was_cut_off_before_a_pause_is_forgotten(slow: tuple[int, Adapter]) -> None:
    host, _ = slow
    os.write(host, packets.write(1, 42, bytes(100))[:20])
    time.sleep(0.06)
    os.write(host, packets.ping(1))
    assert answer(host, 6)[1] == packets.packet(1, 0)


def test_closing_takes_the_port_away(tmp_path: Path) -> None:
    device = FeetechDevice(FakeJoints())
    adapter = Adapter(PseudoTerminal(tmp_path / "arm"), device.feed, device.idle)
    host = os.open(tmp_path / "arm", os.O_RDWR | os.O_NOCTTY)
    adapter.close()
    assert not (tmp_path / "arm").is_symlink()
    with pytest.raises(OSError, match="Input/output"):
        os.write(host, b"x")
    os.close(host)


def test_hosts_may_come_and_go(framed: tuple[int, Adapter], tmp_path: Path) -> None:
    for _ in range(2):
        again = os.open(tmp_path / "arm", os.O_RDWR | os.O_NOCTTY)
        os.write(again, packets.ping(2))
        assert answer(again, 6)[1] == packets.packet(2, 0)
        os.close(again)


def test_a_host_at_another_speed_is_not_understood_until_it_has_the_right_one(tmp_path: Path) -> None:
    device = FeetechDevice(FakeJoints())
    adapter = Adapter(PseudoTerminal(tmp_path / "arm"), device.feed, device.idle, usb_latency_ns=0)
    host = os.open(tmp_path / "arm", os.O_RDWR | os.O_NOCTTY)
    settings = termios.tcgetattr(host)
    for speed, heard in ((termios.B57600, False), (termios.B1000000, True)):
        settings[4:6] = [speed, speed]
        termios.tcsetattr(host, termios.TCSANOW, settings)
        os.write(host, packets.ping(1))
        assert bool(select.select([host], [], [], 2.0 if heard else 0.1)[0]) is heard
    os.close(host)
    adapter.close()
