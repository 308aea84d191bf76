"""Something that the machine has to do meanwhile: busy cores, busy memory, or a busy disk.

`python -m edge_runtime.load KIND FOLDER PARENT` is one such process, an ordinary one; it ends with its parent.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from edge_runtime.errors import EdgeError

ARRAY_BYTES = 64 << 20
"""More than the last cache of the processors that robots have holds."""
FILE_BYTES = 16 << 20


@contextmanager
def load(kind: str) -> Iterator[None]:
    """A process for each core that does nothing but `kind`, until the block ends; `EdgeError` for an unknown kind."""
    if kind not in KINDS:
        raise EdgeError(f'there is no load "{kind}": there are {", ".join(KINDS)}')
    with tempfile.TemporaryDirectory(prefix="edge-load-", dir="." if os.access(".", os.W_OK) else None) as folder:
        command = [sys.executable, "-m", __name__, kind, folder, str(os.getpid())]
        workers = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in os.sched_getaffinity(0)]
        try:
            yield
        finally:
            for worker in workers:
                worker.kill()
            for worker in workers:
                worker.wait()


def _cpu(_folder: str) -> Callable[[], object]:
    """A pure Python loop, a few milliseconds of it."""
    return lambda: sum(range(100_000))


def _memory(_folder: str) -> Callable[[], object]:
    """One array copied into another, again and again."""
    a, b = np.ones(ARRAY_BYTES, np.uint8), np.zeros(ARRAY_BYTES, np.uint8)
    return lambda: np.copyto(b, a)


def _io(folder: str) -> Callable[[], object]:
    """A file written and brought to the disk, again and again."""
    data, file = bytes(FILE_BYTES), os.open(f"{folder}/{os.getpid()}", os.O_WRONLY | os.O_CREAT, 0o600)

    def write() -> None:
        os.pwrite(file, data, 0)
        os.fsync(file)

    return write


KINDS = {"cpu": _cpu, "memory": _memory, "io": _io}


def main(kind: str, folder: str, parent: str) -> None:
    """Work until the process `parent`, which has started this one, is gone."""
    work = KINDS[kind](folder)
    while os.getppid() == int(parent):
        work()


if __name__ == "__main__":
    main(*sys.argv[1:])
