"""The one screen: a line for each check, what to do under those that need something, and the sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_runtime.doctor.check import LEVELS, Check, Group, Level, count

STYLES: dict[Level, str] = {"bad": "bold red", "warn": "yellow", "unknown": "dim", "ok": "green"}
_MARGIN = 2


def rows(groups: Sequence[Group]) -> list[tuple[str, Level | None]]:
    """The lines, each with the level that colours it; None for none."""
    width = max(len(check.name) for group in groups for check in group.checks)
    lines: list[tuple[str, Level | None]] = []
    for group in groups:
        lines.append((group.name, None))
        for check in group.checks:
            lines += _check(check, width)
    return [*lines, ("", None), (_sum(groups), None)]


def summary(groups: Sequence[Group]) -> dict[str, Any]:
    """For a program: how many of each level, and all checks."""
    checks = [{"group": group.name, **vars(check)} for group in groups for check in group.checks]
    return {**{level: count(groups, level) for level in LEVELS}, "checks": checks}


def _check(check: Check, width: int) -> list[tuple[str, Level | None]]:
    head = f"{' ' * _MARGIN}{check.level:<8}{check.name:<{width}}  "
    lines: list[tuple[str, Level | None]] = [(f"{head}{check.found}", check.level)]
    return [*lines, (f"{' ' * len(head)}→ {check.remedy}", None)] if check.remedy else lines


def _sum(groups: Sequence[Group]) -> str:
    return ", ".join(f"{number} {level}" for level in LEVELS if (number := count(groups, level)))
