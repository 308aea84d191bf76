"""Orders on their way to the control thread: first come, first done, but a stop waits for nobody."""

from __future__ import annotations

from collections import deque

from edge_runtime.events import Report
from edge_runtime.link import Order
from edge_runtime.states import Command

URGENT = (Command.STOP, Command.ESTOP)
"""Commands that are done before all others; what was ordered before them and has not begun is refused."""


class Orders:
    """Any thread appends; the control thread does the rest. Nobody waits: a deque's append and popleft are atomic."""

    def __init__(self, report: Report) -> None:
        self._given: deque[Order] = deque()
        self._waiting: deque[Order] = deque()
        self._report = report

    def append(self, order: Order) -> None:
        """From any thread."""
        self._given.append(order)

    def take(self) -> Order | None:
        """The next one to be done."""
        self._sort()
        return self._waiting.popleft() if self._waiting else None

    def answer(self, order: Order, why: str) -> None:
        """It was done, or `why` says why not; a refusal is an event, for an order may be nobody's (`autostart`)."""
        if why:
            self._report("refused", why)
        order.answer = why

    def refuse(self, why: str) -> None:
        """All that wait, but for the urgent ones."""
        self._sort()
        self._refuse_waiting(why)

    def _sort(self) -> None:
        while self._given:
            order = self._given.popleft()
            if order.command in URGENT:
                self._refuse_waiting(f"{order.command.value} came after it")
            self._waiting.append(order)

    def _refuse_waiting(self, why: str) -> None:
        for _ in range(len(self._waiting)):
            order = self._waiting.popleft()
            if order.command in URGENT:
                self._waiting.append(order)
            else:
                self.answer(order, f"{order.command.value} is not done: {why}")
