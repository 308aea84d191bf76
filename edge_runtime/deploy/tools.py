"""Other programs, run with a deadline; what they lack or say ends in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_runtime.errors import EdgeError, one_line

PACKAGE = {
    "rauc": "rauc",
    "openssl": "openssl",
    "mksquashfs": "squashfs-tools",
    "debugfs": "e2fsprogs",
    "systemctl": "systemd",
}
"""Debian's package that brings a program; one of the program's own name where it is not here."""
_SBIN = ("/usr/sbin", "/sbin")
_ERROR = "LastError: "
_KEPT = 40
"""So many lines before the last one are looked at."""


def found(program: str) -> str | None:
    """Where a program is; None where it is not installed. Looks where only root's PATH leads too."""
    return shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *_SBIN)))


def need(*programs: str) -> None:
    """Raises `EdgeError` with what to install where one of the programs is missing."""
    missing = sorted({PACKAGE.get(program, program) for program in programs if found(program) is None})
    if missing:
        names = " and ".join(program for program in programs if found(program) is None)
        raise EdgeError(f"{names}: not installed here: apt-get install {' '.join(missing)}")


def run(command: Sequence[str | Path], *, timeout_s: float, what: str) -> str:
    """What the program prints. Raises `EdgeError`: `what` failed, with the last thing that the program said."""
    need(str(command[0]))
    try:
        done = subprocess.run(
            [found(str(command[0])) or command[0], *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EdgeError(f"{what}: {command[0]} was not done after {timeout_s:.0f} s") from error
    if done.returncode != 0:
        raise EdgeError(f"{what}: {_last_words(done.stderr or done.stdout) or f'exit code {done.returncode}'}")
    return done.stdout


def follow(command: Sequence[str | Path], line: Callable[[str], None], *, timeout_s: float, what: str) -> None:
    """As `run`, with each line that the program prints given to `line` as it comes. It is killed at the deadline."""
    need(str(command[0]))
    said: list[str] = []
    expired = threading.Event()
    with subprocess.Popen(
        [found(str(command[0])) or command[0], *command[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        deadline = threading.Timer(timeout_s, _kill, (process, expired))
        deadline.start()
        try:
            for text in process.stdout or ():
                said = [*said[-_KEPT:], text]
                line(text)
        finally:
            deadline.cancel()
    if expired.is_set():
        raise EdgeError(f"{what}: {command[0]} was not done after {timeout_s:.0f} s")
    if process.returncode != 0:
        raise EdgeError(f"{what}: {_last_words(''.join(said)) or f'exit code {process.returncode}'}")


def _kill(process: subprocess.Popen[str], expired: threading.Event) -> None:
    expired.set()
    process.kill()


def _last_words(said: str) -> str:
    """What RAUC calls its last error, or the last line that says something, without what `edge` begins its own with."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
    return one_line((errors or lines)[-1]).removeprefix("edge: ") if lines else ""
