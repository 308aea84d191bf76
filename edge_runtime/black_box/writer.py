"""The run's end of the process that writes black boxes: starts it, tells it, hears it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from edge_runtime.black_box.incident import Trigger
from edge_runtime.black_box.process import END, Answer, Start

ASKS_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Whoever ends the service or the session asks its processes all together; the black box's ends after the run."""


class WriterProcess:
    """One process, from its start on. Calls are of one thread, and none but `finish` waits."""

    def __init__(self, start: Start) -> None:
        """Raises `OSError` where there can be no more processes."""
        self._process = _spawn(start.descriptor)
        self._said = b""
        self.tell(start)
        os.set_blocking(_pipe(self._process.stdin).fileno(), False)
        os.set_blocking(_pipe(self._process.stdout).fileno(), False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def tell(self, message: Start | Trigger) -> bool:
        """Have a black box written; whether it could be told."""
        line = msgspec.json.encode(message) + b"\n"
        try:
            return os.write(_pipe(self._process.stdin).fileno(), line) == len(line)
        except OSError:
            return False

    def answers(self) -> list[Answer]:
        """What it has said since."""
        with suppress(BlockingIOError):
            self._said += os.read(_pipe(self._process.stdout).fileno(), 65_536)
        *lines, self._said = self._said.split(b"\n")
        return [msgspec.json.decode(line, type=Answer) for line in lines]

    def finish(self, seconds: float) -> bool:
        """Have it end after what it was told; whether it did within `seconds`. It goes on by itself otherwise."""
        self.tell(Trigger(END, "", 0))
        with suppress(OSError):
            _pipe(self._process.stdin).close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """Neither tell nor hear it any more."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                _pipe(pipe).close()


def _spawn(descriptor: int) -> subprocess.Popen[bytes]:
    """The process, which is handed `descriptor`. What asks this one to end is blocked in it for good."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ASKS_TO_END)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "edge_runtime.black_box.process"],
            cwd=Path(__file__).parents[2],  # ours are imported from there, whatever lies where the robot was started
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(descriptor,),
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
