"""Work for a process of its own, which loads no more than this."""

from __future__ import annotations

import os
import signal
import time

from edge_runtime.errors import BackendError


def quotient(a: float, b: float) -> float:
    return a / b


def refused() -> None:
    raise BackendError("cannot do that")


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def wait() -> None:
    time.sleep(60)
