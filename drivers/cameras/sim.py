"""The simulated robot's cameras, through the sockets that `python -m drivers.sim` serves."""

from __future__ import annotations

import socket
import struct
import time

from drivers.cameras.base import Camera, CameraSettings, Frame, Stamp
from drivers.errors import Disconnected, DriverError, Timeout
from drivers.sim.frames import ASK, HEADER_SIZE, Header

_OPEN_S = 2.0


class Device(Camera):
    """`device` is the path of the camera's socket. The simulator stamps its frames when it takes them."""

    def __init__(self, settings: CameraSettings) -> None:
        super().__init__(settings)
        self._label = f"camera {settings.name}: {settings.device}"
        self._socket: socket.socket | None = None
        self._header = memoryview(bytearray(HEADER_SIZE))
        self._asked = False
        self._got = 0
        """Bytes that have come of the frame asked for, header included. Outlives a call that times out."""

    def open(self) -> None:
        self.close()
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(self.settings.device)
            self._fill(self._header, 0, time.monotonic() + _OPEN_S)
            self._check_mode()
        except OSError as error:
            self.close()
            why = error.strerror or str(error)
            raise Disconnected(f"{self._label}: {why}: does the simulator run in that directory?") from None
        except DriverError:
            self.close()
            raise
        self._got = 0

    def read_into(self, frame: Frame, timeout_s: float) -> Stamp:
        deadline = time.monotonic() + timeout_s
        wanted = (self.settings.height, self.settings.width, 3)
        if frame.shape != wanted:
            raise DriverError(f"{self._label}: a frame {wanted} does not fit a buffer {frame.shape}")
        pixels = frame.data.cast("B")
        torn = self._got > HEADER_SIZE  # its beginning went into an earlier call's buffer
        while True:
            if not self._asked:
                self._ask()
            self._fill(self._header, 0, deadline)
            self._fill(pixels, HEADER_SIZE, deadline)
            self._asked, self._got = False, 0
            if not torn:
                header = Header.unpack(self._header)
                return Stamp(header.frame_id, header.capture_ns, "device")
            torn = False

    def close(self) -> None:
        connection, self._socket = self._socket, None
        self._asked, self._got = False, 0
        if connection is not None:
            connection.close()

    def _check_mode(self) -> None:
        """Whether the camera's mode, which its first header says, is the one asked for."""
        settings, mode = self.settings, Header.unpack(self._header)
        if (mode.width, mode.height) != (settings.width, settings.height) or abs(mode.fps - settings.fps) > 0.5:
            raise Disconnected(
                f"{self._label}: it delivers {mode.width}x{mode.height} at {mode.fps:g} frames/s, "
                f"not {settings.width}x{settings.height} at {settings.fps:g}: correct width, height and fps"
            )

    def _ask(self) -> None:
        try:
            self._open_socket().sendall(ASK)
        except OSError:
            raise self._gone() from None
        self._asked = True

    def _fill(self, view: memoryview, before: int, deadline: float) -> None:
        """Receive until `view`, which follows `before` bytes of this frame, is full.

        The kernel waits for all of it: each return to Python is a turn at the interpreter lock that control needs.
        """
        connection = self._open_socket()
        while self._got < before + len(view):
            seconds, rest = divmod(max(1e-6, deadline - time.monotonic()), 1.0)
            limit = struct.pack("ll", int(seconds), max(1, int(rest * 1e6)))  # timeval; all zeros would be for ever
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            try:
                count = connection.recv_into(view[self._got - before :], 0, socket.MSG_WAITALL)
            except BlockingIOError:
                raise Timeout(f"{self._label}: no new frame within the time given") from None
            except OSError:
                raise self._gone() from None
            if count == 0:
                raise self._gone()
            self._got += count

    def _open_socket(self) -> socket.socket:
        if self._socket is None:
            raise Disconnected(f"{self._label}: not open; call open first")
        return self._socket

    def _gone(self) -> Disconnected:
        return Disconnected(f"{self._label}: the camera has gone away; open it again")
