"""In the test image only: `edge serve` can be made to hang from outside, as only code inside a process can.

A line in site-packages calls `begin` in every Python of the package; in the service a thread then waits for somebody
to open `ORDERS`, takes the interpreter lock and never gives it back.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from pathlib import Path

ORDERS = "/run/edge-sim/orders"
"""A named pipe."""
LINE = "import edge_hold_lock; edge_hold_lock.begin()\n"
"""What the .pth file of the test image says (docs of Python's `site`)."""


def begin() -> None:
    """Wait for the order, in the service's process alone."""
    if "serve" in getattr(sys, "argv", ()):
        threading.Thread(target=_wait, name="hold-lock", daemon=True).start()


def _wait() -> None:
    with Path(ORDERS).open(encoding="ascii") as orders:
        orders.readline()
    ctypes.PyDLL(None).pause()  # a call through PyDLL keeps the lock, and no signal has a handler in this thread
