"""The simulated robot as a process: an arm on a pseudo-terminal, two cameras and a judge's socket, in one directory."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

from drivers.errors import Disconnected
from drivers.sim.adapter import Adapter
from drivers.sim.camera_server import CameraServer
from drivers.sim.feetech_device import FeetechDevice
from drivers.sim.judge import Judge, listen
from drivers.sim.realtime import RealTime
from drivers.sim.world import World

CAMERAS = ("base", "wrist")


class Simulator:
    """Everything that `directory` offers: `arm`, `camera-base.sock`, `camera-wrist.sock` and `sim.sock`."""

    def __init__(self, directory: Path, seed: int = 0, baud: int = 1_000_000, usb_latency_ns: int = 1_000_000) -> None:
        """`Disconnected` if another simulator already lives there."""
        self._paths = [directory / n for n in ("arm", *(f"camera-{name}.sock" for name in CAMERAS), "sim.sock")]
        directory.mkdir(parents=True, exist_ok=True)
        _clear(self._paths)
        self.world = World(seed)
        self.live = RealTime(self.world, FeetechDevice(self.world, baud=baud))
        self._stop = threading.Event()
        self._adapter = Adapter(self._paths[0], self.live.feed, self.live.idle, baud, usb_latency_ns)
        self.cameras = {
            name: CameraServer(name, path, self.live.shoot)
            for name, path in zip(CAMERAS, self._paths[1:-1], strict=True)
        }
        self._judge = listen(self._paths[-1], Judge(self.world, self.live, self.cameras))

    def run(self) -> None:
        """Keep the world moving until `stop`."""
        self.live.run(self._stop)

    def stop(self) -> None:
        """End `run`. Safe in a signal handler."""
        self._stop.set()

    def close(self) -> None:
        """Take everything away again."""
        self._judge.shutdown()
        self._judge.server_close()
        for camera in self.cameras.values():
            camera.close()
        self._adapter.close()
        for path in self._paths:
            path.unlink(missing_ok=True)


def _clear(paths: list[Path]) -> None:
    """Remove what a simulator that was killed has left; refuse to where one is alive."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(paths[-1]))
        raise Disconnected(f"{paths[-1].parent}: another simulator runs in this directory: end it or take another")
    for path in paths:
        path.unlink(missing_ok=True)
