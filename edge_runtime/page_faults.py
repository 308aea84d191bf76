"""Page faults of the control thread: memory that the kernel had to find for it while it was to be in time."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import NamedTuple

from edge_runtime.realtime import helper

WARM_S = 5.0
"""From here on nothing is new any more: a robot has stood, moved and followed a chunk."""
LOOK_S = 0.25


class Faults(NamedTuple):
    """Since the thread began. A minor one costs microseconds, a major one waits for a disk."""

    minor: int
    major: int


def of_thread(thread: int) -> Faults:
    """Of one of this process's threads, by the kernel's number; fields 10 and 12 of /proc/PID/stat (proc(5))."""
    text = Path(f"/proc/self/task/{thread}/stat").read_text(encoding="utf-8")
    fields = text.rpartition(")")[2].split()  # from the third on: the second may hold anything
    return Faults(int(fields[7]), int(fields[9]))


class Watch:
    """Counts those of the main thread, which is the control thread, from `warm_s` after `start` until `over`."""

    def __init__(self, over: threading.Event, warm_s: float) -> None:
        self.counted: Faults | None = None
        """None while the thread was not warm."""
        self._over = over
        self._warm_s = warm_s
        self._thread = helper(self._run, "page faults")

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        if self._over.wait(self._warm_s):
            return
        before = of_thread(os.getpid())
        while not self._over.wait(LOOK_S):
            now = of_thread(os.getpid())
            self.counted = Faults(now.minor - before.minor, now.major - before.major)
