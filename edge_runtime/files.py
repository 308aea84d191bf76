"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_whole(path: Path, content: str | bytes, *, settled: bool = False) -> None:
    """Write `content` so that a reader sees all of it, or the file that was there before. Makes missing folders.

    With `settled` a power cut changes nothing of that, and what is written is on the disk when this returns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with naming(path):
            beside.write_bytes(content.encode() if isinstance(content, str) else content)
            if settled:
                settle(beside)
        beside.replace(path)
        if settled:
            settle(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def plain(path: Path) -> Path:
    """`path` without ".." in it, where that is the same place: behind a link to a folder it is not."""
    short = os.path.normpath(path)
    try:
        return Path(short) if os.path.realpath(short) == os.path.realpath(path) else path
    except ValueError:  # no place at all, with a null character in it
        return path


@contextmanager
def room(folder: Path | None) -> Iterator[None]:
    """`folder` is there within the block; afterwards, with those above it, only if it was before or something is in it.

    Raises `OSError` where it cannot be made.
    """
    new = [] if folder is None else [one for one in (folder, *folder.parents) if not one.exists()]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):  # not empty
            for one in new:
                one.rmdir()


def settle(path: Path) -> None:
    """What the file holds, or which names the folder has, is on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An `OSError` of the block that names no file, as that of a full disk, is raised as one that names `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
