"""How faults are made and mended, each from another process than the one that suffers it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from benchmarks.faults.rig import Rig

Step = Callable[[Rig], object]
EATEN_BYTES, EAT_S = 1 << 30, 3.0
DISK_BYTES = 16 << 20
_EATER = """
import sys, time
held, end = bytearray(int(sys.argv[1])), time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    held[:] = bytes(len(held))
"""


class Skip(Exception):
    """This fault cannot be made here; says why."""


def nothing(_: Rig) -> None:
    """There is nothing to do."""


def sim(kind: str, target: str = "", *, on: bool) -> Step:
    """Break something of the simulated robot, or mend it (`drivers.sim.judge`)."""
    return lambda rig: rig.sim.ask(cmd="fault", kind=kind, target=target, on=on)


def order(line: str, times: int = 1) -> Step:
    """Something that only code inside the program can do (`benchmarks.faults.edge`)."""

    def make(rig: Rig) -> None:
        for _ in range(times):
            rig.order(line)

    return make


def kill(number: int) -> Step:
    return lambda rig: os.kill(rig.pid, number)


def pause(seconds: float) -> Step:
    """The whole program stands still for so long."""

    def make(rig: Rig) -> None:
        os.kill(rig.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(rig.pid, signal.SIGCONT)

    return make


class Eater:
    """Another process that writes over a lot of memory again and again."""

    def start(self, _: Rig) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", _EATER, str(EATEN_BYTES), str(EAT_S)])

    def wait(self, _: Rig) -> None:
        self._process.wait()


def no_more_memory(rig: Rig) -> None:
    """From now on the kernel gives the program no more address space (RLIMIT_AS): what it has is all there is."""
    pages = int(Path(f"/proc/{rig.pid}/statm").read_text().split()[0])
    resource.prlimit(rig.pid, resource.RLIMIT_AS, (pages * resource.getpagesize(), resource.RLIM_INFINITY))


def memory_again(rig: Rig) -> None:
    resource.prlimit(rig.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def fill_disk(rig: Rig) -> None:
    """Write until nothing more fits on the disk of `small_disk`."""
    with (rig.disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
        for chunk in iter(partial(bytes, 1 << 16), None):
            file.write(chunk)


def empty_disk(rig: Rig) -> None:
    (rig.disk / "filler").unlink()


@contextmanager
def small_disk(rig: Rig) -> Iterator[None]:
    """The program's report, log and recording on a disk of their own that is soon full. Raises `Skip`."""
    if os.geteuid():
        raise Skip("a small disk takes root to mount")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(rig.disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skip(f"no small disk: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(rig.disk)], check=False)
