"""The serial cycle in C: byte by byte, state by state and error by error what the one in Python does."""

from __future__ import annotations

import os
import pty
import select
import socket
import threading
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.dynamixel import packets as dynamixel_packets
from drivers.feetech import packets as feetech_packets
from drivers.motors import dynamixel, feetech
from drivers.motors.base import BusSettings, MotorSettings
from drivers.servos.bus import ServoBus
from edge_runtime import exchange
from edge_runtime.buses import Buses
from edge_runtime.clock import MonotonicClock
from edge_runtime.exchange import Exchange
from tests.drivers.babble import babble
from tests.edge_runtime.built import build

IDS = (1, 2, 3)
CYCLE_NS = 40_000_000
EVER = 1 << 62
"""No setpoint is too late."""
"""Half of it is for the answers: a busy machine is late by less."""
DRIVERS = {"feetech": (feetech, "sts3215"), "dynamixel": (dynamixel, "xm430-w350")}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("library"))


def native(library: Path) -> Exchange:
    found = exchange.load(library.parent)
    assert isinstance(found, Exchange)
    return found


def answer(kind: str, id: int, raw: int) -> bytes:
    """What servo `id` says of its motion in `raw`."""
    if kind == "feetech":
        return feetech_packets.packet(id, 0, raw.to_bytes(4, "little"))
    return dynamixel_packets.status(id, 0, raw.to_bytes(8, "little"))


@dataclass
class Taps:
    """All bytes that went over the line, whichever way."""

    bytes_sent: bytearray = field(default_factory=bytearray)
    bytes_received: bytearray = field(default_factory=bytearray)

    def sent(self, data: bytes | bytearray | memoryview) -> None:
        self.bytes_sent += data

    def received(self, data: bytes | bytearray | memoryview) -> None:
        self.bytes_received += data


class Wire:
    """A pseudo-terminal whose other end answers each question with the next of `replies`, in pieces."""

    def __init__(self, kind: str, replies: Sequence[Sequence[bytes]]) -> None:
        driver, model = DRIVERS[kind]
        self.master, slave = pty.openpty()
        tty.setraw(self.master)
        tty.setraw(slave)
        self._slave = slave
        motors = tuple(MotorSettings(f"j{id}", id, model, 2048, 1, (-3.0, 3.0), "hold") for id in IDS)
        self.bus: ServoBus = driver.Bus(BusSettings("arm", os.ttyname(slave), 1_000_000, motors))
        self.heard = bytearray()
        self.taps = Taps()
        self.bus.show(self.taps)
        self.bus._line.open()
        self._questions = self.bus._motion.requests
        self._replies = list(replies)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def _answer(self) -> None:
        seen = 0
        while not self._over.is_set():
            if not select.select([self.master], [], [], 0.005)[0]:
                continue
            self.heard += os.read(self.master, 4096)
            while found := [q for q in self._questions if q in self.heard[seen:]]:
                seen = self.heard.index(found[0], seen) + len(found[0])
                for piece in self._replies.pop(0) if self._replies else ():
                    os.write(self.master, piece)

    def say(self, data: bytes) -> None:
        """Bytes that nobody has asked for."""
        os.write(self.master, data)
        end_s = time.monotonic() + 1.0
        while not select.select([self._slave], [], [], 0.01)[0] and time.monotonic() < end_s:
            pass

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self.bus.disconnect()
        os.close(self._slave)
        os.close(self.master)


@contextmanager
def wired(kind: str, replies: Sequence[Sequence[bytes]]) -> Iterator[Wire]:
    wire = Wire(kind, replies)
    try:
        yield wire
    finally:
        wire.close()


def outcome(
    kind: str, replies: Sequence[Sequence[bytes]], stale: bytes, found: Exchange | None, write: bool = True
) -> dict[str, object]:
    """All that is left of as many cycles as there are replies."""
    with wired(kind, replies) as wire:
        buses = Buses([wire.bus], MonotonicClock(), CYCLE_NS, exchange=found)
        line, said = buses.lines[0], []
        if stale:
            wire.say(stale)
        for index in range(len(replies)):
            buses.setpoint_rad[:] = 0.1 * (index + 1), -0.2, 0.3
            buses.cycle(time.monotonic_ns() + 2_000_000, write, EVER)
            said.append((line.misses, line.unsent, line.trouble.partition(" on ")[2].partition(": ")[2]))
            said.append((buses.measured_rad.tolist(), buses.velocity_rad_s.tolist(), buses.heard.tolist()))
        taps = wire.taps
        return {
            "said": said,
            "missed": line.missed,
            "wire": bytes(taps.bytes_sent),
            "heard": bytes(wire.heard),
            "received": bytes(taps.bytes_received),
        }


def raws() -> st.SearchStrategy[int]:
    return st.integers(0, 0x0FFF_0FFF)


@st.composite
def spoiled(draw: st.DrawFn, kind: str) -> list[bytes]:
    """Answers as they may come: whole, damaged, too few, too many, from somebody else, in pieces."""
    who = draw(st.sampled_from([IDS, IDS, IDS, (1, 3), (7,)]))
    data = bytearray().join(answer(kind, id, draw(raws())) for id in who)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        what = draw(st.sampled_from(["flip", "drop", "add"]))
        if what == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "drop":
            del data[at : at + draw(st.integers(1, 8))]
        else:
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
    cut = draw(st.integers(0, len(data)))
    return [bytes(data[:cut]), bytes(data[cut:])]


@pytest.mark.parametrize("kind", DRIVERS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_whatever_comes_both_make_the_same_of_it(library: Path, kind: str, data: st.DataObject) -> None:
    replies = data.draw(st.lists(spoiled(kind), min_size=1, max_size=3))
    stale = data.draw(st.sampled_from([b"", b"\xff\xff\x01", answer(kind, 2, 99), b"\0" * 300]))
    assert outcome(kind, replies, stale, native(library)) == outcome(kind, replies, stale, None)


@pytest.mark.parametrize("kind", DRIVERS)
def test_a_good_cycle_is_one_call_from_the_slot_to_the_last_byte(library: Path, kind: str) -> None:
    good = [[b"".join(answer(kind, id, 2048 + id) for id in IDS)]]
    found = outcome(kind, good, b"", native(library))
    assert found == outcome(kind, good, b"", None)
    assert found["missed"] == 0
    assert found["heard"] == found["wire"], "the tap saw what the servos heard"


def test_nothing_is_sent_but_the_question_where_nothing_is_to_be_written(library: Path) -> None:
    good = [[b"".join(answer("feetech", id, 2048) for id in IDS)]]
    found = outcome("feetech", good, b"", native(library), write=False)
    assert found["heard"] == feetech_packets.sync_read(IDS, 56, 4)
    assert found == outcome("feetech", good, b"", None, write=False)


def test_the_slot_is_waited_for_and_each_stamp_follows_the_one_before(library: Path) -> None:
    good = [b"".join(answer("feetech", id, 2048) for id in IDS)]
    with wired("feetech", [good]) as wire:
        buses = Buses([wire.bus], MonotonicClock(), CYCLE_NS, exchange=native(library))
        due_ns = time.monotonic_ns() + 20_000_000
        buses.cycle(due_ns, True, EVER)
        assert due_ns <= buses.began_ns <= buses.sent_ns <= wire.bus.state.stamp_ns <= buses.ended_ns
        assert buses.ended_ns <= time.monotonic_ns()


def test_all_setpoints_are_sent_before_anybody_is_asked(library: Path) -> None:
    """The first bus answers nothing until the second has its setpoints."""
    good = [b"".join(answer("feetech", id, 2048) for id in IDS)]
    with wired("feetech", [good]) as first, wired("feetech", [good]) as second:
        buses = Buses([first.bus, second.bus], MonotonicClock(), 4 * CYCLE_NS, exchange=native(library))
        buses.cycle(time.monotonic_ns(), True, EVER)
        assert [line.missed for line in buses.lines] == [0, 0]
        heard = [bytes(first.heard), bytes(second.heard)]
        assert heard[0] == heard[1]
        assert buses.sent_ns < first.bus.state.stamp_ns < second.bus.state.stamp_ns


def test_a_silent_bus_keeps_the_next_one_waiting_for_its_own_share_only(library: Path) -> None:
    good = [b"".join(answer("feetech", id, 2048) for id in IDS)]
    with wired("feetech", []) as silent, wired("feetech", [good]) as other:
        buses = Buses([silent.bus, other.bus], MonotonicClock(), 4 * CYCLE_NS, exchange=native(library))
        buses.cycle(time.monotonic_ns(), True, EVER)
        assert [line.missed for line in buses.lines] == [1, 0]
        assert "no motor answers" in buses.lines[0].trouble
        share_ns = 4 * CYCLE_NS // 4
        assert 3 * share_ns <= other.bus.state.stamp_ns - buses.began_ns < 4 * share_ns


@pytest.mark.parametrize("found", ["C", "Python"])
def test_a_setpoint_that_is_too_old_is_not_sent_and_the_joints_are_read_all_the_same(library: Path, found: str) -> None:
    good = [b"".join(answer("feetech", id, 2048) for id in IDS)]
    with wired("feetech", [good]) as wire:
        exchanged = native(library) if found == "C" else None
        buses = Buses([wire.bus], MonotonicClock(), CYCLE_NS, exchange=exchanged)
        now_ns = time.monotonic_ns()
        buses.cycle(now_ns, True, now_ns - 1)
        assert bytes(wire.heard) == feetech_packets.sync_read(IDS, 56, 4)
        line = buses.lines[0]
        assert (line.unsent, line.misses, buses.heard.tolist()) == (True, 0, [True] * 3)


@pytest.mark.parametrize("found", ["C", "Python"])
def test_a_port_that_has_gone_is_a_bus_that_is_lost(library: Path, found: str) -> None:
    with wired("feetech", []) as wire:
        buses = Buses([wire.bus], MonotonicClock(), CYCLE_NS, exchange=native(library) if found == "C" else None)
        wire.bus.disconnect()
        buses.cycle(time.monotonic_ns(), True, EVER)
        line = buses.lines[0]
        assert (line.gone, line.unsent, line.misses) == (True, True, 1)
        assert "not open" in line.trouble


@pytest.mark.parametrize("found", ["C", "Python"])
def test_a_port_that_takes_no_more_bytes_has_not_sent_the_setpoint(library: Path, found: str) -> None:
    """Nobody reads at the other end of a socket, which takes the place of the port."""
    ours, theirs = socket.socketpair()
    with ours, theirs, wired("feetech", []) as wire:
        ours.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                ours.send(b"\0")
        wire.bus._line._port._fd, wire.bus._line._port._fds = ours.fileno(), [ours.fileno()]
        buses = Buses([wire.bus], MonotonicClock(), CYCLE_NS, exchange=native(library) if found == "C" else None)
        buses.cycle(time.monotonic_ns(), True, EVER)
        line = buses.lines[0]
        assert (line.unsent, line.misses) == (True, 1)
        assert "the port takes no more bytes" in line.trouble


@pytest.mark.parametrize("found", ["C", "Python"])
def test_a_line_that_never_falls_silent_ends_the_cycle_at_its_deadline(
    library: Path, tmp_path: Path, found: str
) -> None:
    with babble(tmp_path) as babbling, wired("feetech", []) as wire:
        wire.bus._line._port._fd, wire.bus._line._port._fds = babbling, [babbling]
        buses = Buses([wire.bus], MonotonicClock(), CYCLE_NS, exchange=native(library) if found == "C" else None)
        buses.cycle(time.monotonic_ns(), False, EVER)
        assert buses.lines[0].misses == 1
        assert "damaged answer" in buses.lines[0].trouble
        assert CYCLE_NS <= buses.ended_ns - buses.began_ns < 5 * CYCLE_NS


def test_a_setpoint_that_is_no_number_is_not_sent_and_the_joints_are_read_all_the_same(library: Path) -> None:
    good = [b"".join(answer("feetech", id, 2048) for id in IDS)]
    with wired("feetech", [good]) as wire:
        buses = Buses([wire.bus], MonotonicClock(), CYCLE_NS, exchange=native(library))
        buses.setpoint_rad[1] = np.nan
        buses.cycle(time.monotonic_ns(), True, EVER)
        assert bytes(wire.heard) == feetech_packets.sync_read(IDS, 56, 4)
        assert (buses.lines[0].unsent, buses.heard.tolist()) == (True, [True] * 3)


def test_without_the_library_one_line_says_what_to_do(tmp_path: Path) -> None:
    found = exchange.load(tmp_path)
    assert isinstance(found, str)
    assert "apt-get install gcc" in found
    (tmp_path / "_exchange.abi3.so").write_bytes(b"no library")
    broken = exchange.load(tmp_path)
    assert isinstance(broken, str)
    assert "_exchange.abi3.so cannot be loaded" in broken
    assert "\n" not in found + broken


def test_a_library_of_another_version_is_not_called(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_LAYOUT", 0)
    found = exchange.load(library.parent)
    assert isinstance(found, str)
    assert "another version" in found
