"""Write a directory whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from export.errors import ExportError


@contextmanager
def staged(target: Path, marker: str) -> Iterator[Path]:
    """Yield an empty directory beside `target`; rename it to `target` when the block ends well, else remove it.

    An existing `target` is replaced only if it holds the file `marker` (or nothing), else `ExportError`: a directory
    that somebody else made is never thrown away.
    """
    target = target.absolute()
    if target.exists() and not (target.is_dir() and ((target / marker).is_file() or not any(target.iterdir()))):
        raise ExportError(f"{target}: exists and has no {marker}; give another place, or remove it first")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise ExportError(f"{target}: cannot be written ({error.strerror})") from error
    try:
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


def _swap(new: Path, target: Path, old: Path) -> None:
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
