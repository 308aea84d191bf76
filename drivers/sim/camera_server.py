"""One simulated camera: renders at its frame rate while somebody looks, and serves every client the newest frame."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.sim.frames import ASK, Header
from drivers.sim.realtime import Picture

WIDTH, HEIGHT, FPS = 640, 480, 30.0
_PERIOD_NS = round(1e9 / FPS)


class _Listener(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    camera: CameraServer


class _Client(socketserver.StreamRequestHandler):
    server: _Listener

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.server.camera.serve(self)


class CameraServer:
    """Serves `path` until `close`. `frozen` stops its frames; `unplug` takes the socket away, `plug` brings it back."""

    def __init__(self, name: str, path: Path, shoot: Callable[[], tuple[Picture, int]]) -> None:
        self.name = name
        self.frozen = False
        self._path = path
        self._shoot = shoot
        self._news = threading.Condition()
        self._newest: tuple[Header, NDArray[np.uint8]] | None = None
        self._clients: set[_Client] = set()
        self._listener: _Listener | None = None
        self._closed = threading.Event()
        self.plug()
        self._thread = threading.Thread(target=self._film, name=f"sim-camera-{name}", daemon=True)
        self._thread.start()

    def plug(self) -> None:
        """Listen, unless it does."""
        if self._listener is None:
            self._listener = _Listener(str(self._path), _Client)
            self._listener.camera = self
            threading.Thread(target=self._listener.serve_forever, args=(0.2,), daemon=True).start()

    def unplug(self) -> None:
        """Vanish: the socket goes, and every client sees the end of its stream."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        self._path.unlink(missing_ok=True)
        listener.shutdown()
        listener.server_close()
        with self._news:
            for client in self._clients:
                with contextlib.suppress(OSError):
                    client.connection.shutdown(2)
            self._news.notify_all()

    def close(self) -> None:
        self._closed.set()
        self.unplug()
        self._thread.join()

    def serve(self, client: _Client) -> None:
        """One client's conversation; ends with an `OSError` or when its stream does."""
        client.connection.sendall(Header(WIDTH, HEIGHT, FPS).pack())
        with self._news:
            self._clients.add(client)
        seen = self._newest[0].frame_id if self._newest else 0
        try:
            while client.connection.recv(1) == ASK:
                with self._news:
                    while self._newest is None or self._newest[0].frame_id == seen:
                        self._news.wait()
                        if self._listener is None:
                            return
                    header, pixels = self._newest
                seen = header.frame_id
                client.connection.sendall(header.pack())
                client.connection.sendall(pixels.data)
        finally:
            with self._news:
                self._clients.discard(client)

    def _film(self) -> None:
        """Render at absolute times; a slot that was missed is skipped, and its frame id with it."""
        start_ns = time.monotonic_ns()
        while True:
            slot = (time.monotonic_ns() - start_ns) // _PERIOD_NS + 1
            if self._closed.wait((start_ns + slot * _PERIOD_NS - time.monotonic_ns()) * 1e-9):
                return
            if self.frozen or not self._clients:
                continue
            picture, capture_ns = self._shoot()
            pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)  # new each time: clients may still be sending the last one
            picture.render(self.name, pixels)
            with self._news:
                self._newest = Header(WIDTH, HEIGHT, FPS, slot, capture_ns), pixels
                self._news.notify_all()
