"""Newest wins: hand the latest value from one writer thread to one reader thread without a lock.

Three buffers: the writer fills one that is neither the newest nor the one that the reader holds, then publishes it by
assigning an index. The reader announces what it holds before it trusts it. Nothing is allocated, nobody waits.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Slot(Generic[T]):
    """A one-place mailbox over three reusable buffers. One writer, one reader."""

    def __init__(self, a: T, b: T, c: T) -> None:
        self._buffers = (a, b, c)
        self._newest = -1
        self._held = -1
        self._back = 0

    @property
    def back(self) -> T:
        """The buffer to fill (writer only)."""
        return self._buffers[self._back]

    def publish(self) -> None:
        """Make `back` the newest (writer only)."""
        self._newest = self._back
        newest, held = self._newest, self._held
        self._back = next(i for i in (0, 1, 2) if i != newest and i != held)

    def take(self) -> T | None:
        """Hold the newest buffer, which stays untouched until the next `take` (reader only); None before the first."""
        while True:
            newest = self._newest
            if newest < 0:
                return None
            self._held = newest
            if self._newest == newest:
                return self._buffers[newest]
