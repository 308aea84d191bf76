"""A thread that keeps one device in use: whatever its driver raises, it is closed, and opened again later each time."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Protocol

from edge_runtime.realtime import helper

BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Waits before opening a lost device again; the last one from then on: short for a plug that was only knocked,
and never so long that whoever plugs it in wonders whether anybody looks."""


class Device(Protocol):
    """What a driver of any kind has."""

    def open(self) -> None: ...

    def close(self) -> None: ...


class DeviceThread(ABC):
    """Subclasses say what is done with the device over and over, and what it means that it is lost."""

    def __init__(self, device: Device, what: str, join_s: float) -> None:
        """`join_s`: how long the end of the run waits for the thread, whose driver may hang for ever."""
        self._device = device
        self._join_s = join_s
        self._over = threading.Event()
        self._thread = helper(self._run, what)

    @abstractmethod
    def _step(self) -> None:
        """One turn with the open device; whatever it raises, the device is lost."""

    @abstractmethod
    def _lose(self, error: Exception, *, first: bool) -> None:
        """It was lost, or is `first` False, still cannot be used."""

    def _reopen(self) -> None:
        self._device.open()

    def start(self) -> None:
        """Open the device, then start the thread. Raises `DriverError` where it cannot be opened."""
        self._device.open()
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the device; one that hangs in its driver is left to the end of the process."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(self._join_s)
        if not self._thread.is_alive():
            self._device.close()

    def _run(self) -> None:
        tries = 0
        while not self._over.is_set():
            try:
                if tries:
                    self._reopen()
                while not self._over.is_set():
                    self._step()
                    tries = 0
            except Exception as error:  # noqa: BLE001  whatever a driver raises, the device is to come back
                self._lose(error, first=not tries)
                self._device.close()
                self._over.wait(BACKOFF_S[min(tries, len(BACKOFF_S) - 1)])
                tries += 1
