"""Arrays by name in memory that another process can see: what a run keeps there outlives the run.

A memory file without a name (memfd_create(2)) holds them. Whoever is handed its descriptor and the layout sees the same
arrays, and keeps them when the process that made them is killed.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edge_runtime.errors import EdgeError

Array = NDArray[Any]
Allocate = Callable[[str, tuple[int, ...], DTypeLike], Array]
"""A new array of zeros by name, shape and type."""
Layout = dict[str, tuple[int, tuple[int, ...], str]]
"""Offset in the file, shape, and type as NumPy writes it, by name; goes through JSON."""


def private(_name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """An `Allocate` for a run that nobody else looks into."""
    return np.zeros(shape, dtype)


class Arena:
    """Owns the memory file. Every page is there before `array` returns."""

    def __init__(self, name: str) -> None:
        """`name` is what tools that list memory show."""
        self.descriptor = os.memfd_create(name)
        self.layout: Layout = {}
        self.size = 0
        """Bytes in all."""

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An `Allocate`. Raises `EdgeError` where there is not so much memory."""
        kind = np.dtype(dtype)
        offset, size = self.size, max(1, int(np.prod(shape, dtype=np.int64)) * kind.itemsize)
        self.size += -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        try:
            os.posix_fallocate(self.descriptor, offset, self.size - offset)
        except OSError as error:
            raise EdgeError(f"black_box: no memory for {name}: {error.strerror}: give it less in robot.toml") from error
        self.layout[name] = (offset, shape, kind.str)
        return _mapped(self.descriptor, offset, shape, kind)

    def close(self) -> None:
        """Give up the descriptor; the arrays stay for as long as somebody has them."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def seen(descriptor: int, layout: Layout) -> Mapping[str, Array]:
    """The arrays of another process's arena."""
    return {name: _mapped(descriptor, at, tuple(shape), np.dtype(kind)) for name, (at, shape, kind) in layout.items()}


def _mapped(descriptor: int, offset: int, shape: tuple[int, ...], kind: np.dtype[Any]) -> Array:
    count = int(np.prod(shape, dtype=np.int64))
    flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
    memory = mmap.mmap(descriptor, max(1, count * kind.itemsize), flags=flags, offset=offset)
    return np.frombuffer(memory, kind, count).reshape(shape)
