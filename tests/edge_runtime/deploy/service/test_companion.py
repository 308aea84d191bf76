"""What goes on beside the loop, round by round, with a loop that only says what the companion asks of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_runtime.deploy.service import companion
from edge_runtime.deploy.service.companion import ANOTHER, Companion
from edge_runtime.states import COAST, DISARMED, FAULTED, HELD_TASK, READY, SAFE, TAKEN, TASK, Mode


class Rounds(threading.Event):
    """The end of the loop: `step` is called with each round's number before it, and says whether it is over."""

    def __init__(self, step: Callable[[int], bool]) -> None:
        super().__init__()
        self._step = step
        self._round = 0

    def wait(self, timeout: float | None = None) -> bool:
        self._round += 1
        return self._step(self._round)


class FakeProof:
    """Proved in round `proved`; overdue from round 5 on."""

    def __init__(self, proved: int) -> None:
        self.looked = 0
        self._proved = proved

    def look(self) -> bool:
        self.looked += 1
        return self.looked == self._proved

    @property
    def overdue(self) -> bool:
        return self.looked >= 5

    def lacks(self) -> str:
        return "camera base gives no frames"

    def facts(self) -> dict[str, Any]:
        return {}

    def text(self) -> str:
        return "well"


class Bench:
    """A companion, and everything that it talks to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, proved: int = 10_000) -> None:
        self.told: list[str] = []
        self.proof = FakeProof(proved)
        monkeypatch.setattr(companion, "Proof", lambda *_: self.proof)
        self.director = SimpleNamespace(mode=DISARMED, latched="")
        self.loop = SimpleNamespace(director=self.director, closing="", close=self._close)
        self.session: Any = SimpleNamespace(loop=self.loop, record=lambda _: None, clock=SimpleNamespace(now_ns=int))
        self.bundle = folder / ("0" * 12)
        self.store = SimpleNamespace(current=self.bundle, confirm=lambda: None, record=SimpleNamespace(trial=None))
        notifier = SimpleNamespace(status=self.told.append, stopping=lambda: self.told.append("STOPPING"))
        latch = SimpleNamespace(armed=lambda: self.told.append("armed"))
        reports = SimpleNamespace(write=lambda *_: None)
        self.healthy = folder / "healthy.json"
        parts: Any = (self.bundle, self.store, None, notifier, reports, self.healthy, latch)
        self.companion = Companion(*parts)

    def _close(self, cause: str) -> None:
        self.loop.closing = self.loop.closing or cause

    def watch(self, step: Callable[[int], bool]) -> None:
        self.companion.watch(self.session, Rounds(step))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_a_proof_that_comes_late_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, monkeypatch, proved=20)
    bench.watch(lambda n: n > 50)
    assert bench.healthy.exists()
    assert bench.proof.looked == 20
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == [
        "not healthy: camera base gives no frames"
    ]


def test_systemd_hears_of_the_end_when_the_loop_is_over_and_not_when_it_is_asked_to_end(bench: Bench) -> None:
    def step(number: int) -> bool:
        if number == 3:
            bench.loop.close("SIGTERM")
        assert "STOPPING" not in bench.told
        return number > 6

    bench.watch(step)
    assert bench.told[-2:] == ["SIGTERM", "STOPPING"]


@pytest.mark.parametrize(
    ("mode", "latched", "makes_way"),
    [
        (DISARMED, "", True),
        (READY, "", True),
        (DISARMED, "e-stop button was pressed", False),
        *((mode, "", False) for mode in (TASK, COAST, TAKEN, HELD_TASK, FAULTED, SAFE)),
    ],
)
def test_when_it_makes_way_for_another_bundle(bench: Bench, mode: Mode, latched: str, *, makes_way: bool) -> None:
    bench.director.mode, bench.director.latched = mode, latched
    bench.store.current = bench.bundle.with_name("1" * 12)
    bench.watch(lambda n: n > 25)
    assert bench.loop.closing == (ANOTHER if makes_way else "")


@pytest.mark.parametrize(
    ("before", "after", "latched", "left"),
    [
        (READY, SAFE, "", False),
        (TASK, SAFE, "", False),
        (TAKEN, SAFE, "", False),
        (TASK, SAFE, "e-stop button was pressed", True),
        (READY, DISARMED, "", True),
        (DISARMED, DISARMED, "", True),
        (HELD_TASK, SAFE, "", True),
        (FAULTED, SAFE, "", True),
        (SAFE, SAFE, "", True),
    ],
)
def test_how_the_robot_was_left(bench: Bench, before: Mode, after: Mode, latched: str, *, left: bool) -> None:
    """`after`: what the end of the loop itself makes of it, once it was asked to end."""

    def step(number: int) -> bool:
        bench.director.mode = before if number < 5 else FAULTED
        if number == 5:
            bench.loop.close("SIGTERM")
        if number == 8:
            bench.director.mode, bench.director.latched = after, latched
        return number == 8

    bench.watch(step)
    assert bench.companion.left == left


def test_that_a_person_armed_it_is_known(bench: Bench) -> None:
    def step(number: int) -> bool:
        bench.director.mode = (DISARMED, SAFE, DISARMED, READY)[min(number, 3)]
        assert ("armed" in bench.told) == (number > 3)
        return number > 4

    bench.watch(step)
