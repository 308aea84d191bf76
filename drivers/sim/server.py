"""The simulated robot as a process: an arm on a pseudo-terminal, two cameras and a judge's socket, in one directory."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from drivers.errors import Disconnected
from drivers.sim.adapter import Adapter
from drivers.sim.cameras import CAMERAS, socket_of
from drivers.sim.feetech_device import FeetechDevice
from drivers.sim.horns import Horns
from drivers.sim.judge import Judge, answer_all, listen
from drivers.sim.ports import PseudoTerminal
from drivers.sim.realtime import RealTime
from drivers.sim.trace import Trace
from drivers.sim.world import World

_PRIORITY = 1
"""The lowest of SCHED_FIFO, where permitted: real servos need no turn on the host's processor to answer."""
_CLOSE_S = 5.0
_SOCKET_PATH_BYTES = 107
"""Longest path of a unix socket: sun_path of 108 bytes less its end (unix(7))."""


class Simulator:
    """Everything that `directory` offers: `arm`, `camera-base.sock`, `camera-wrist.sock` and `sim.sock`."""

    def __init__(
        self,
        directory: Path,
        seed: int = 0,
        baud: int = 1_000_000,
        usb_latency_ns: int = 1_000_000,
        trace: Path | None = None,
    ) -> None:
        """`Disconnected` if another simulator already lives there, or its path is too long for sockets.

        What the servos are told and where the joints are goes to the file `trace` (`drivers.sim.trace`).
        """
        self.greeting = f"ready {directory}"
        self._paths = [directory / "sim.sock", directory / "arm", *(socket_of(directory, name) for name in CAMERAS)]
        _check_lengths(self._paths)
        directory.mkdir(parents=True, exist_ok=True)
        _clear(self._paths)
        world = World(seed)
        horns = Horns(world)
        device = FeetechDevice(horns, baud=baud)
        live = RealTime(horns, device)
        self._turned: Callable[[], None] | None = None
        if trace is not None:
            written = Trace(trace, horns, world.servos)
            live.looked, device.told, self._turned = written.looked, written.told, written.turned
        self._live = live
        self._stop = threading.Event()
        self._adapter: Adapter | None = None
        self._baud, self._usb_latency_ns = baud, usb_latency_ns
        self._judge = listen(self._paths[0], Judge(world, live, horns, self.plug))
        try:
            self._cameras = _start_cameras(directory)
        except (Disconnected, OSError):
            self._judge.server_close()
            _clear(self._paths)
            raise
        with contextlib.suppress(PermissionError):  # all threads from here on inherit it; the cameras do not have it
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
        answer_all(self._judge)
        self.plug(True)

    def plug(self, into: bool) -> None:
        """Put the arm's USB plug in, or pull it: its port comes or goes. The servos have a supply of their own."""
        if into and self._adapter is None:
            live, line = self._live, (self._baud, self._usb_latency_ns)
            self._adapter = Adapter(
                PseudoTerminal(self._paths[1], self._baud), live.feed, live.idle, *line, self._turned
            )
        elif not into and self._adapter is not None:
            self._adapter.close()
            self._adapter = None

    def run(self) -> None:
        """Keep the world moving until `stop`; `Disconnected` if the cameras' process ends by itself."""
        while not self._stop.is_set():
            self._live.run(self._stop, 1.0)
            if self._cameras.poll() is not None:
                raise Disconnected("the cameras' process has ended; start the simulator again")

    def stop(self) -> None:
        """End `run`. Safe in a signal handler."""
        self._stop.set()

    def close(self) -> None:
        """Take everything away again."""
        self._judge.shutdown()
        self._judge.server_close()
        self._cameras.terminate()
        try:
            self._cameras.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._cameras.kill()
            self._cameras.wait()
        self.plug(False)
        for path in self._paths:
            path.unlink(missing_ok=True)


def _start_cameras(directory: Path) -> subprocess.Popen[bytes]:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "drivers.sim.cameras", str(directory.resolve())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root)
    assert process.stdout is not None
    with process.stdout:
        ready = process.stdout.readline()
    if not ready:
        process.wait()
        raise Disconnected(f"{directory}: the cameras' process does not start")
    return process


def _check_lengths(paths: list[Path]) -> None:
    """robot.toml's paths are absolute once it is read, so the whole path counts."""
    longest = max((path.absolute() for path in paths), key=lambda path: len(os.fsencode(path)))
    if (size := len(os.fsencode(longest))) > _SOCKET_PATH_BYTES:
        raise Disconnected(
            f"{longest}: the path of a socket has at most {_SOCKET_PATH_BYTES} bytes, this one has {size}: "
            "take a shorter directory"
        )


def _clear(paths: list[Path]) -> None:
    """Remove what a simulator that was killed has left; refuse to where one is alive."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(paths[0]))
        raise Disconnected(f"{paths[0].parent}: another simulator runs in this directory: end it or take another")
    for path in paths:
        path.unlink(missing_ok=True)
