"""Write a directory whole or not at all."""

from __future__ import annotations

import fcntl
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from export.errors import ExportError

_LOCK = "edge.lock"
"""File in a scratch directory that its process holds locked; whoever can lock it knows that the process is gone."""


@contextmanager
def staged(target: Path, marker: str) -> Iterator[Path]:
    """Yield an empty directory beside `target`; rename it to `target` when the block ends well, else remove it.

    An existing `target` is replaced only if it holds the file `marker` (or nothing), else `ExportError`: a directory
    that somebody else made is never thrown away. What a killed process left beside `target` is cleared away first.
    """
    target = target.absolute()
    _clear(target)
    if target.exists() and not (target.is_dir() and ((target / marker).is_file() or not any(target.iterdir()))):
        raise ExportError(f"{target}: exists and has no {marker}; give another place, or remove it first")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise ExportError(f"{target}: cannot be written ({error.strerror})") from error
    try:
        with _locked(scratch):
            new = scratch / "new"
            new.mkdir()
            yield new
            _swap(new, target, scratch / "old")
    except OSError as error:  # a full disk names no file
        if error.filename is not None or error.errno is None:
            raise
        raise ExportError(f"{target}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _locked(scratch: Path) -> Iterator[None]:
    """Hold the lock of a new scratch directory. It gets its name when it is locked, so none is ever seen unlocked."""
    early = scratch / f"{_LOCK}.new"
    with early.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        early.rename(scratch / _LOCK)
        yield


def _clear(target: Path) -> None:
    """Remove scratch directories of `target` that nobody holds, and put back what one of them had set aside."""
    named = re.compile(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}")  # as `tempfile.mkdtemp` does
    if not target.parent.is_dir():
        return
    for left in [path for path in target.parent.iterdir() if named.fullmatch(path.name)]:
        lock = left / _LOCK
        if left.is_symlink() or lock.is_symlink() or not lock.is_file():
            continue
        with suppress(OSError), lock.open("r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            old = left / "old"
            if old.exists() and not target.exists():
                old.rename(target)
            shutil.rmtree(left, ignore_errors=True)


def _swap(new: Path, target: Path, old: Path) -> None:
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
