"""Events on their way from whoever saw them to the housekeeping thread, which logs and keeps them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from edge_runtime.clock import Clock
from edge_runtime.record import Event

Report = Callable[[str, str], None]
"""What whoever sees an event calls: its name and its cause."""


class EventQueue:
    """Any thread reports, one drains. Nobody waits: a deque's append and popleft are atomic."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: deque[Event] = deque()

    def report(self, name: str, cause: str) -> None:
        """`name` says which kind of event, `cause` why it happened."""
        self._queue.append(Event(self._clock.now_ns(), name, cause))

    def drain(self) -> Iterator[Event]:
        """Take everything reported so far, oldest first."""
        while self._queue:
            yield self._queue.popleft()
