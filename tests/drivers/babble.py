"""A line on which somebody talks without a pause, as a broken adapter may."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SIZE = (1 << 31) - 1
"""As many bytes as an adapter can say that it has; to read them all takes a good part of a second, or more."""


@contextmanager
def babble(folder: Path) -> Iterator[int]:
    """A descriptor that takes the place of a port's: a file in `folder`, all holes, that can be asked as a port can."""
    path = folder / "babble"
    path.touch()
    os.truncate(path, _SIZE)
    descriptor = os.open(path, os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        path.unlink()
