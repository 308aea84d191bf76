"""Calls into a device's library may never return, and hear no signal. They are for threads that can be left behind.

So Ctrl-C and SIGTERM end the process while a policy is opened: the main thread waits where it hears them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

APART, INFERENCE = "apart", "inference"
"""Names of the threads that make such calls."""

T = TypeVar("T")


def apart(work: Callable[[], T]) -> T:
    """What `work` returns or raises, done on a thread of its own. A signal that raises here leaves it behind."""
    over, found, failures = threading.Event(), list[T](), list[BaseException]()

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # noqa: BLE001  raised again in the thread that waits for it
            failures.append(error)
        finally:
            over.set()

    thread = threading.Thread(target=run, name=APART, daemon=True)
    thread.start()
    over.wait()
    thread.join()  # not before: a join that is interrupted takes the thread for ended (3.10, 3.11)
    if failures:
        raise failures[0]
    return found[0]


def left_behind() -> bool:
    """Whether such a call is still in progress. The end of Python may wait for the same device, for ever."""
    return any(thread.name in (APART, INFERENCE) for thread in threading.enumerate())
