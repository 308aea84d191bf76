"""What the control thread asks of the kernel and of the interpreter, and what it was given.

Nothing here fails for lack of permission: what was not given is said in one line with what to do about it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

SWITCH_S = 0.0001
"""How long another thread may keep the interpreter lock once the control thread wants it."""

NICE = -15
"""Of every other thread that takes the interpreter lock."""

_CAP_IPC_LOCK = 14
"""linux/capability.h."""
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4


@dataclass(frozen=True)
class RealtimeReport:
    """Settings by name, and for each that was refused what it was, why, and what to do."""

    obtained: tuple[str, ...]
    refused: tuple[str, ...]

    def __str__(self) -> str:
        """One line."""
        line = f"real time: {', '.join(self.obtained) or 'nothing'}"
        return f"{line}; without {'; '.join(self.refused)}" if self.refused else line


@contextmanager
def obtain(priority: int, cpu: int = -1) -> Iterator[RealtimeReport]:
    """Make the calling thread, and it alone, a real-time one, on core `cpu` where that is not -1; undone at the end.

    Memory lock, collector and switch interval are the process's. Threads made from now on are ordinary ones again.
    """
    cores = os.sched_getaffinity(0)
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    switch_s = sys.getswitchinterval()
    wanted: list[tuple[str, Callable[[], None], str]] = [
        (f"SCHED_FIFO {priority}", lambda: _fifo(priority), f"set LimitRTPRIO or `ulimit -r` to {priority} or more"),
        (f"nice {NICE} for its helpers", favour, f"set LimitNICE={NICE} or `ulimit -e {20 - NICE}`"),
        ("memory locked", _lock_memory, "set LimitMEMLOCK=infinity or `ulimit -l unlimited`"),
    ]
    if cpu >= 0:
        wanted.append((f"core {cpu}", lambda: os.sched_setaffinity(0, {cpu}), f"this process may use {sorted(cores)}"))
    obtained, refused = ["collector frozen", f"switch interval {SWITCH_S * 1e3:g} ms"], []
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(SWITCH_S)
    for name, ask, remedy in wanted:
        try:
            ask()
            obtained.append(name)
        except OSError as error:
            refused.append(f"{name} ({error.strerror}: {remedy})")
    try:
        yield RealtimeReport(tuple(obtained), tuple(refused))
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        ctypes.CDLL(None).munlockall()
        os.sched_setaffinity(0, cores)
        sys.setswitchinterval(switch_s)
        gc.enable()
        gc.unfreeze()


def favour() -> None:
    """Give the calling thread a core before other processes' threads. Raises `PermissionError`.

    The interpreter lock knows no priorities: while its holder waits for a core, control waits for both. Measured beside
    busy processes on two cores: lateness p99 0.1 ms with this, 2 to 3 ms without.
    """
    os.setpriority(os.PRIO_PROCESS, 0, NICE)  # of 0, Linux changes the thread that asks


def helper(run: Callable[[], None], name: str) -> threading.Thread:
    """A thread beside the control thread, not yet started: favoured where permitted, and no reason to live on."""

    def favoured() -> None:
        with suppress(PermissionError):  # `obtain` says so
            favour()
        run()

    return threading.Thread(target=favoured, name=name, daemon=True)


def _fifo(priority: int) -> None:
    """Children and new threads start without it: an inference library's pool must not inherit it."""
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))


def _lock_memory() -> None:
    """Pages stay once touched. Not under a finite limit, to whom it applies: a later allocation would fail instead."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY and not _may_lock_all():
        raise PermissionError(1, f"the limit is {soft // 1024} KiB")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _may_lock_all() -> bool:
    """CAP_IPC_LOCK is effective, to which no limit applies (mlock(2)). Root in a container may be without it."""
    lines = Path("/proc/thread-self/status").read_bytes().splitlines()
    (capabilities,) = (line.split()[1] for line in lines if line.startswith(b"CapEff:"))
    return bool(int(capabilities, 16) >> _CAP_IPC_LOCK & 1)


class StuckTimer:
    """The net under the interpreter: unless petted in time, the kernel ends this process (SIGALRM, default action).

    It needs no bytecode to run, so it also catches a thread that keeps the interpreter lock for ever. From the main
    thread only.
    """

    def __enter__(self) -> StuckTimer:
        self._handler = signal.signal(signal.SIGALRM, signal.SIG_DFL)
        return self

    def pet(self, seconds: float) -> None:
        """The next one comes within `seconds`."""
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, self._handler)
