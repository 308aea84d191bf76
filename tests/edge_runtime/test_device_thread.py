"""A device that is lost and comes back; what e-stops, hands and cameras add is tested with each of them."""

from __future__ import annotations

import threading
import time

import pytest

from edge_runtime import device_thread
from edge_runtime.device_thread import DeviceThread


class Device:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.broken = threading.Event()

    def open(self) -> None:
        self.calls.append("open")
        if self.broken.is_set():
            raise OSError("still away")

    def close(self) -> None:
        self.calls.append("close")


class Watched(DeviceThread):
    def __init__(self, device: Device, join_s: float = 5.0) -> None:
        super().__init__(device, "watched", join_s)
        self.device = device
        self.steps = 0
        self.lost: list[tuple[str, bool]] = []

    def _step(self) -> None:
        time.sleep(0.001)
        if self.device.broken.is_set():
            raise OSError("unplugged")
        self.steps += 1

    def _lose(self, error: Exception, *, first: bool) -> None:
        self.lost.append((str(error), first))


def until(true: object) -> None:
    end = time.monotonic() + 10
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.002)


def test_it_is_closed_and_opened_again_until_it_works_and_a_new_loss_is_a_first_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device_thread, "BACKOFF_S", (0.01,))
    device = Device()
    thread = Watched(device)
    thread.start()
    for _ in range(2):
        device.broken.set()
        lost = len(thread.lost)
        until(lambda lost=lost: len(thread.lost) >= lost + 3)
        device.broken.clear()
        steps = thread.steps
        until(lambda steps=steps: thread.steps > steps)
    thread.stop()
    assert [error for error, first in thread.lost if first] == ["unplugged", "unplugged"]
    assert {error for error, first in thread.lost if not first} == {"still away"}
    assert device.calls == ["open", "close"] * (device.calls.count("open"))


def test_one_that_hangs_in_its_driver_is_not_closed_under_its_reader() -> None:
    let_go, inside = threading.Event(), threading.Event()

    class Hanging(Watched):
        def _step(self) -> None:
            inside.set()
            let_go.wait(30.0)

    device = Device()
    thread = Hanging(device, join_s=0.0)
    thread.start()
    assert inside.wait(5.0)
    thread.stop()
    assert device.calls == ["open"]
    let_go.set()
