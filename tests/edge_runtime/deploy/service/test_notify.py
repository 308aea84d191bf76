"""sd_notify's protocol: what systemd hears, how often, and what becomes of words that it cannot take."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from edge_runtime.deploy.service.notify import Notifier
from tests.edge_runtime.memory import growth

SECOND_NS = 1_000_000_000


class Ear:
    """Systemd's end."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def ear(path: str) -> Iterator[Ear]:
    made = Ear(path)
    yield made
    made.socket.close()


Tell = Callable[..., Notifier]


@pytest.fixture
def told_by() -> Iterator[Tell]:
    with ExitStack() as made:

        def make(address: str, **more: str) -> Notifier:
            notifier = Notifier.of({"NOTIFY_SOCKET": address, **more})
            made.callback(notifier.close)
            return notifier

        yield make


def test_ready_once_and_then_a_sign_of_life_four_times_in_the_time_that_is_allowed(
    ear: Ear, path: str, told_by: Tell
) -> None:
    notifier = told_by(path, WATCHDOG_USEC="4000000")
    for tick in range(401):
        notifier.alive(7 * SECOND_NS + tick * 10_000_000)
    assert ear.heard() == ["READY=1", *["WATCHDOG=1"] * 4]


def test_without_a_watchdog_it_is_ready_and_that_is_all(ear: Ear, path: str, told_by: Tell) -> None:
    for more in ({}, {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid() + 1)}):
        notifier = told_by(path, **more)
        for tick in range(100):
            notifier.alive(tick * SECOND_NS)
        assert ear.heard() == ["READY=1"]


def test_the_watchdog_of_this_process_is_petted(ear: Ear, path: str, told_by: Tell) -> None:
    notifier = told_by(path, WATCHDOG_USEC="1000000", WATCHDOG_PID=str(os.getpid()))
    for tick in range(3):
        notifier.alive(tick * SECOND_NS)
    assert ear.heard() == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]


def test_an_abstract_socket(told_by: Tell) -> None:
    name = f"edge-test-{os.getpid()}"
    ear = Ear(f"\0{name}")
    notifier = told_by(f"@{name}")
    notifier.alive(0)
    notifier.status("arm waits")
    assert ear.heard() == ["READY=1", "STATUS=arm waits"]
    ear.socket.close()


def test_everything_else_that_it_tells(ear: Ear, path: str, told_by: Tell) -> None:
    notifier = told_by(path)
    notifier.extend(1.5)
    notifier.status("reading")
    notifier.stopping()
    assert ear.heard() == ["EXTEND_TIMEOUT_USEC=1500000", "STATUS=reading", "STOPPING=1"]


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"WATCHDOG_USEC": "1000000"}])
def test_where_nobody_listens_nothing_is_told(environment: dict[str, str]) -> None:
    with closing(Notifier.of(environment)) as notifier:
        notifier.alive(0)
        notifier.status("x")


def test_what_finds_no_room_is_dropped_and_told_again_after_the_next_tick(ear: Ear, path: str, told_by: Tell) -> None:
    full = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        while True:
            try:
                other.sendto(b"noise", path)
            except BlockingIOError:
                break
            full += 1
    notifier = told_by(path, WATCHDOG_USEC="4000000")
    notifier.alive(0)  # returns at once
    notifier.alive(10_000_000)
    assert ear.heard() == ["noise"] * full
    notifier.alive(20_000_000)
    assert ear.heard() == ["READY=1"]


def test_systemd_that_was_started_anew_is_found_again(ear: Ear, path: str, told_by: Tell) -> None:
    notifier = told_by(path, WATCHDOG_USEC="4000000")
    notifier.alive(0)
    ear.socket.close()
    Path(path).unlink()
    notifier.alive(2 * SECOND_NS)
    again = Ear(path)
    notifier.alive(2 * SECOND_NS + 1)
    assert again.heard() == ["WATCHDOG=1"]
    again.socket.close()


def test_a_sign_of_life_keeps_nothing(ear: Ear, path: str, told_by: Tell) -> None:
    notifier, times = told_by(path, WATCHDOG_USEC="4"), iter(range(0, 10**9, 10_000))
    assert growth(lambda: notifier.alive(next(times)), times=2_000) < 500
    assert len(ear.heard()) > 2
