"""What the service tells systemd, one datagram a time: sd_notify(3), where it listens: NOTIFY_SOCKET.

Nothing is told where nobody listens.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping

READY = b"READY=1"
WATCHDOG = b"WATCHDOG=1"
SHARE = 4
"""The watchdog is petted so many times in the time that it allows: systemd advises twice (sd_watchdog_enabled(3)), and
a tick may be late, or systemd's queue full, more than once."""
PATIENCE_S = 1.0
"""How long what is told once waits for room in systemd's queue."""
_NEVER_NS = sys.maxsize


class Notifier:
    """`alive` is for the control thread, everything else for any."""

    def __init__(self, address: str = "", watchdog_ns: int = 0) -> None:
        """`address`: a path, or "@name" of an abstract socket; nothing is told where it is empty.

        `watchdog_ns`: how long systemd waits for a sign of life; 0: it asks for none.
        """
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._every_ns = watchdog_ns // SHARE or _NEVER_NS
        self._word = READY
        self._due_ns = 0 if address else _NEVER_NS

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Notifier:
        """What systemd has set up for this process."""
        asked = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watchdog_us = environment.get("WATCHDOG_USEC", "") if asked else ""
        return cls(environment.get("NOTIFY_SOCKET", ""), int(watchdog_us or 0) * 1000)

    def alive(self, now_ns: int) -> None:
        """The control thread has just made a tick in time: the first time that the service is ready.

        Never waits: what systemd cannot take now is told again after the next tick. Allocates nothing that stays.
        """
        if now_ns < self._due_ns or not _sent(self._socket, self._word, self._address):
            return
        self._word = WATCHDOG
        self._due_ns = now_ns + self._every_ns

    def status(self, words: str) -> None:
        """One line about what it is doing, for `systemctl status`."""
        self._tell(f"STATUS={words}")

    def extend(self, seconds: float) -> None:
        """The start may take so much longer from now, whatever TimeoutStartSec says."""
        self._tell(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def stopping(self) -> None:
        """It ends now: no sign of life is waited for any more, but the end, for as long as TimeoutStopSec says."""
        self._tell("STOPPING=1")

    def close(self) -> None:
        """Nothing more is told by `alive`."""
        self._due_ns = _NEVER_NS
        self._socket.close()

    def _tell(self, words: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as patient:
            patient.settimeout(PATIENCE_S)
            _sent(patient, words.encode(), self._address)


def _sent(by: socket.socket, words: bytes, address: str) -> bool:
    try:
        by.sendto(words, address)
    except OSError:  # its queue is full, or it is being started anew
        return False
    return True
