"""The housekeeping thread: answers the control socket, logs and keeps events, and has the black box written."""

from __future__ import annotations

import logging
import threading
from collections import deque

from edge_runtime.black_box.box import BlackBox
from edge_runtime.control_socket import ControlSocket, Handler
from edge_runtime.events import EventQueue
from edge_runtime.realtime import helper
from edge_runtime.record import Event

ROUND_S = 0.1

_log = logging.getLogger("edge_runtime")


class Housekeeping:
    """Owns the control socket."""

    def __init__(
        self,
        control: ControlSocket,
        handler: Handler,
        events: EventQueue,
        kept: deque[Event],
        black_box: BlackBox | None = None,
    ) -> None:
        """Events go from `events` to `kept`."""
        self._kept = kept
        self._control = control
        self._handler = handler
        self._queue = events
        self._black_box = black_box
        self._stop = threading.Event()
        self._thread = helper(self._run, "housekeeping")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what was reported until now is logged and kept, and so is what the black box says of it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._keep()
        if self._black_box is not None:
            self._black_box.stop()
            self._keep()

    def _run(self) -> None:
        while not self._stop.is_set():
            for work in (self._serve, self._keep):
                try:
                    work()
                except Exception as error:  # noqa: BLE001  what breaks something must not be the last that is heard
                    self._queue.report("housekeeping failed", f"{type(error).__name__}: {error}")

    def _serve(self) -> None:
        self._control.serve(self._handler, ROUND_S)

    def _keep(self) -> None:
        for event in self._queue.drain():
            self._kept.append(event)
            _log.info("%s: %s", event.name, event.cause)
            if self._black_box is not None:
                self._black_box.see(event)
        if self._black_box is not None:
            self._black_box.turn()
