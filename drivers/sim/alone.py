"""Simulated servos alone on a pseudo-terminal, so that any client of their protocol can talk to them."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from drivers.errors import Disconnected
from drivers.sim.adapter import Adapter
from drivers.sim.bench import Bench
from drivers.sim.dynamixel_device import DynamixelDevice
from drivers.sim.feetech_device import FeetechDevice
from drivers.sim.realtime import RealTime

PROTOCOLS = {"feetech": FeetechDevice, "dynamixel": DynamixelDevice}


class ServosAlone:
    """`servos` servos with ids from 1, on the port `directory`/`protocol`."""

    def __init__(
        self,
        directory: Path,
        protocol: str,
        servos: int = 6,
        baud: int = 1_000_000,
        usb_latency_ns: int = 1_000_000,
    ) -> None:
        """`Disconnected` if other servos already live there."""
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(directory)
        port = directory / protocol
        port.unlink(missing_ok=True)  # a simulator that was killed cannot tidy up
        self.greeting = str(port)
        bench = Bench(servos)
        self._live = RealTime(bench, PROTOCOLS[protocol](bench, baud=baud))
        self._stop = threading.Event()
        self._adapter = Adapter(port, self._live.feed, self._live.idle, baud, usb_latency_ns)

    def run(self) -> None:
        """Keep the servos moving until `stop`."""
        while not self._stop.is_set():
            self._live.run(self._stop, 1.0)

    def stop(self) -> None:
        """End `run`. Safe in a signal handler."""
        self._stop.set()

    def close(self) -> None:
        """Take the port away again."""
        self._adapter.close()
        os.close(self._lock)


def _lock(directory: Path) -> int:
    """A file descriptor that holds the directory for as long as this process lives."""
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Disconnected(f"{directory}: other servos run in this directory: end them or take another") from None
    return lock
