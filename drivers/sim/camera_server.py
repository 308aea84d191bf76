"""One simulated camera's socket: every client gets the newest frame that it has not had yet."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.sim.frames import ASK, Header

WIDTH, HEIGHT, FPS = 640, 480, 30.0


class _Listener(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    camera: CameraServer


class _Client(socketserver.StreamRequestHandler):
    server: _Listener

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.server.camera.serve(self.connection)


class CameraServer:
    """Serves `path` while plugged in. Whoever makes frames hands them to `publish`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._news = threading.Condition()
        self._newest: tuple[Header, NDArray[np.uint8]] | None = None
        self._clients: set[socket.socket] = set()
        self._listener: _Listener | None = None
        self.plug()

    @property
    def watched(self) -> bool:
        """Whether anybody looks."""
        return bool(self._clients)

    def publish(self, frame_id: int, capture_ns: int, pixels: NDArray[np.uint8]) -> None:
        """Make this the newest frame. `pixels` [480, 640, 3] must not change any more: clients may take long."""
        with self._news:
            self._newest = Header(WIDTH, HEIGHT, FPS, frame_id, capture_ns), pixels
            self._news.notify_all()

    def plug(self) -> None:
        """Listen, unless it does."""
        if self._listener is None:
            self._listener = _Listener(str(self._path), _Client)
            self._listener.camera = self
            threading.Thread(target=self._listener.serve_forever, args=(0.2,), daemon=True).start()

    def unplug(self) -> None:
        """Vanish, unless it has: the socket goes, and every client sees the end of its stream."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        self._path.unlink(missing_ok=True)
        listener.shutdown()
        listener.server_close()
        with self._news:
            for client in self._clients:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
            self._news.notify_all()

    def serve(self, client: socket.socket) -> None:
        """One client's conversation; ends with an `OSError` or when its stream does."""
        with self._news:
            self._clients.add(client)
            seen = self._newest[0].frame_id if self._newest else 0
        try:
            client.sendall(Header(WIDTH, HEIGHT, FPS).pack())
            while client.recv(1) == ASK:
                with self._news:
                    while self._newest is None or self._newest[0].frame_id == seen:
                        self._news.wait()
                        if self._listener is None:
                            return
                    header, pixels = self._newest
                seen = header.frame_id
                client.sendall(header.pack())
                client.sendall(pixels.data)
        finally:
            with self._news:
                self._clients.discard(client)
