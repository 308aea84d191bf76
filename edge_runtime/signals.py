"""Signals that ask for the end while torque is on: told, not raised, so that no stop and no safe action is cut off."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def told(close: Callable[[str], object]) -> Iterator[None]:
    """Within the block SIGINT, SIGTERM and a terminal that closes call `close` with their name, however often.

    One that is ignored (`nohup`) stays so. On the main thread only.
    """
    before = {
        number: signal.signal(number, lambda n, _: close(signal.Signals(n).name))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
