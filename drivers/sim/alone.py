"""Simulated servos alone on a port, so that any client of their protocol can talk to them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from pathlib import Path

from drivers.errors import Disconnected
from drivers.sim.adapter import Adapter
from drivers.sim.bench import Bench
from drivers.sim.dynamixel_device import DynamixelDevice
from drivers.sim.feetech_device import FeetechDevice
from drivers.sim.ports import PseudoTerminal, SerialLine
from drivers.sim.realtime import RealTime

PROTOCOLS = {"feetech": FeetechDevice, "dynamixel": DynamixelDevice}


class ServosAlone:
    """`servos` servos with ids from 1."""

    def __init__(
        self,
        directory: Path,
        protocol: str,
        servos: int = 6,
        baud: int = 1_000_000,
        usb_latency_ns: int = 1_000_000,
        port: Path | None = None,
    ) -> None:
        """On the port `directory`/`protocol`, or on the serial `port` of this machine, whose line has its own USB.

        `Disconnected` if other servos already live there, or that port does not open.
        """
        self._parts = contextlib.ExitStack()
        line = _terminal(directory, protocol, baud, self._parts) if port is None else SerialLine(port, baud)
        self.greeting = line.name
        bench = Bench(servos)
        self._live = RealTime(bench, PROTOCOLS[protocol](bench, baud=baud))
        self._stop = threading.Event()
        latency_ns = usb_latency_ns if port is None else 0
        self._adapter = Adapter(line, self._live.feed, self._live.idle, baud, latency_ns)

    def run(self) -> None:
        """Keep the servos moving until `stop`; `Disconnected` if their port goes away."""
        while not self._stop.is_set():
            self._live.run(self._stop, 1.0)
            if self._adapter.gone:
                raise Disconnected(f"{self.greeting}: the port has gone away; check the cable and start again")

    def stop(self) -> None:
        """End `run`. Safe in a signal handler."""
        self._stop.set()

    def close(self) -> None:
        """Take the port away again."""
        self._adapter.close()
        self._parts.close()


def _terminal(directory: Path, protocol: str, baud: int, parts: contextlib.ExitStack) -> PseudoTerminal:
    """The pseudo-terminal `directory`/`protocol`; `parts` holds the directory for it."""
    directory.mkdir(parents=True, exist_ok=True)
    parts.callback(os.close, _lock(directory))
    path = directory / protocol
    path.unlink(missing_ok=True)  # a simulator that was killed cannot tidy up
    return PseudoTerminal(path, baud)


def _lock(directory: Path) -> int:
    """A file descriptor that holds the directory for as long as this process lives."""
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Disconnected(f"{directory}: other servos run in this directory: end them or take another") from None
    return lock
