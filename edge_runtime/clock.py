"""Time: CLOCK_MONOTONIC nanoseconds, absolute deadlines, and a fake for tests and replay."""

from __future__ import annotations

import ctypes
import time
from typing import Protocol

_CLOCK_MONOTONIC = 1
_TIMER_ABSTIME = 1
_EINTR = 4


class Clock(Protocol):
    """What every timed part of the process asks for the time."""

    def now_ns(self) -> int:
        """CLOCK_MONOTONIC nanoseconds."""
        ...

    def cpu_ns(self) -> int:
        """Processor time that the calling thread has had, nanoseconds (CLOCK_THREAD_CPUTIME_ID)."""
        ...

    def sleep_until(self, deadline_ns: int) -> None:
        """Return at or after `deadline_ns`; at once if it has passed. Releases the interpreter lock."""
        ...


class _Timespec(ctypes.Structure):
    _fields_ = [("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long)]


class MonotonicClock:
    """The real one: clock_nanosleep with TIMER_ABSTIME, so that being preempted before the call adds no drift.

    One instance per thread: the timespec is reused so that a sleep allocates nothing.
    """

    def __init__(self) -> None:
        self._sleep = ctypes.CDLL(None, use_errno=False).clock_nanosleep
        self._sleep.restype = ctypes.c_int
        self._until = _Timespec()
        self._until_p = ctypes.byref(self._until)

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def cpu_ns(self) -> int:
        return time.thread_time_ns()

    def sleep_until(self, deadline_ns: int) -> None:
        if deadline_ns <= time.monotonic_ns():  # without giving the interpreter to another thread
            return
        self._until.tv_sec, self._until.tv_nsec = divmod(deadline_ns, 1_000_000_000)
        while self._sleep(_CLOCK_MONOTONIC, _TIMER_ABSTIME, self._until_p, None) == _EINTR:
            pass


class FakeClock:
    """A clock that moves only when told to, or when somebody sleeps on it. On it, work takes no time."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        return self._now_ns

    def cpu_ns(self) -> int:
        return 0

    def sleep_until(self, deadline_ns: int) -> None:
        self._now_ns = max(self._now_ns, deadline_ns)

    def advance(self, duration_ns: int) -> None:
        """Let `duration_ns` pass."""
        self._now_ns += duration_ns
