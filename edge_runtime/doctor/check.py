"""One thing that was looked at: how it stands, what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "bad", "unknown"]
LEVELS: tuple[Level, ...] = ("bad", "warn", "unknown", "ok")
"""The worst first. `unknown`: could not be seen here, which is not the same as good."""


@dataclass(frozen=True)
class Check:
    """One line of the screen.

    `remedy` is "" where nothing is to be done, and where `found` is an error's line, which says itself what to do.
    """

    name: str
    level: Level
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Group:
    """Checks that belong together."""

    name: str
    checks: tuple[Check, ...]


def count(groups: Sequence[Group], level: Level) -> int:
    """How many checks are at `level`."""
    return sum(check.level == level for group in groups for check in group.checks)
