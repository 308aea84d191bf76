"""The robot's end of an ssh session with `edge deploy`."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from queue import SimpleQueue
from typing import IO

from edge_runtime.deploy.models import messages
from edge_runtime.deploy.models.messages import M, Message, Step

_BLOCK = 1 << 16
_STEP_S = 0.2
"""A step is told no more often than this."""


class Line:
    """The sender, at the other end of an ssh session. When that ends, so does this process, as by Ctrl-C."""

    def __init__(self, receives: int, sends: IO[bytes]) -> None:
        """`receives`: a file descriptor; a thread that waits on it when the process ends must hold no file's lock."""
        self._receives = receives
        self._sends = sends
        self._lines: SimpleQueue[bytes] = SimpleQueue()
        self._told = ("", float("-inf"))
        threading.Thread(target=self._listen, name="line", daemon=True).start()

    def get(self, *kinds: type[M]) -> M:
        """The next message, which is to be of one of these kinds."""
        return messages.get(self._lines.get(), *kinds)

    def put(self, message: Message) -> None:
        """Tell it. Whether anybody listens, `_listen` notices."""
        with suppress(BrokenPipeError):
            messages.put(self._sends, message)

    def step(self, what: str, part: float) -> None:
        """Tell it how far the work is, now and then."""
        now_s = time.monotonic()
        if what != self._told[0] or now_s - self._told[1] >= _STEP_S:
            self._told = (what, now_s)
            self.put(Step(what, part))

    def _listen(self) -> None:
        received = bytearray()
        while (block := os.read(self._receives, _BLOCK)) and len(received) < messages.MOST_BYTES:
            received += block
            *lines, received = received.split(b"\n")
            for line in lines:
                self._lines.put(bytes(line))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
