"""Newest wins: hand the latest value from one writer thread to its reader threads without a lock.

With one reader there are three buffers, with each reader more one more: the writer fills one that is neither the newest
nor one that a reader holds, then publishes it by assigning an index. A reader announces what it holds before it trusts
it. Nothing is allocated, nobody waits.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Slot(Generic[T]):
    """A one-place mailbox over reusable buffers, two more than it has readers. One writer."""

    def __init__(self, *buffers: T) -> None:
        if len(buffers) < 3:
            raise ValueError(f"one reader takes three buffers, not {len(buffers)}")
        self._buffers = buffers
        self._places = range(len(buffers))
        self._newest = -1
        self._held = [-1] * (len(buffers) - 2)
        self._back = 0

    @property
    def back(self) -> T:
        """The buffer to fill (writer only)."""
        return self._buffers[self._back]

    def publish(self) -> None:
        """Make `back` the newest (writer only)."""
        self._newest = newest = self._back
        for place in self._places:
            if place != newest and place not in self._held:
                self._back = place
                return

    def take(self, reader: int = 0) -> T | None:
        """Hold the newest buffer, which stays untouched until this reader's next `take`; None before the first."""
        while True:
            newest = self._newest
            if newest < 0:
                return None
            self._held[reader] = newest
            if self._newest == newest:
                return self._buffers[newest]
