"""The person at the robot, as a guided procedure sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Table:
    """What is shown while somebody works: a heading a column, and a row of text a joint."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Person(Protocol):
    """Somebody who reads, moves the arm and presses Enter. Any of these may raise: the person has given up."""

    def tell(self, words: str) -> None:
        """One line that asks for nothing."""

    def agree(self, question: str) -> None:
        """Return once the person has agreed."""

    def wait(self, words: str, show: Callable[[], Table], done: Callable[[], bool] = lambda: False) -> None:
        """Say what is to be done and show what `show` answers, over and over, until the person presses Enter, or
        `done`."""
