"""A disk whose power goes at a chosen operation: nothing after it happens, and what was not settled is lost."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.symlink", "os.link", "os.rmdir", "shutil.rmtree"}


class Cut(BaseException):
    """The power has gone."""


class Disk:
    """Counts what changes the folder `at`, in this process, and cuts the power before operation `after`."""

    def __init__(self, at: Path) -> None:
        self.at = str(at)
        self.after = -1
        self.count = 0
        self.gone = False
        self.settled: set[int] = set()
        self.armed = False

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        opens = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES
        if event in _CHANGES or (opens and self.at in str(arguments[0])):
            self.step()

    def step(self) -> None:
        if self.count == self.after:
            self.gone = True
            raise Cut
        self.count += 1


_disks: list[Disk] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    for disk in _disks:
        disk.hook(event, arguments)


_hooked: list[bool] = []


@contextmanager
def disk(at: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Watch the folder `at`; what is there already is settled."""
    if not _hooked:
        sys.addaudithook(_hook)  # for good: it cannot be taken away
        _hooked.append(True)
    made = Disk(at)

    def settle(descriptor: int) -> None:
        if made.armed:
            made.step()
        made.settled.add(os.fstat(descriptor).st_ino)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", settle)
        _disks.append(made)
        try:
            yield made
        finally:
            _disks.remove(made)


def lose(made: Disk, before: set[int]) -> None:
    """What was written and not settled is not on the disk: its name is, as journals have it, and no content."""
    for folder, _, files in os.walk(made.at):
        for name in files:
            path = Path(folder, name)
            if not path.is_symlink() and path.stat().st_ino not in made.settled | before:
                os.truncate(path, 0)


def inodes(at: Path) -> set[int]:
    return {Path(folder, name).lstat().st_ino for folder, _, files in os.walk(at) for name in files}
