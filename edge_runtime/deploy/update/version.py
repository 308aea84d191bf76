"""The version of a system: up to four numbers with points between, so that any two can be told apart by age."""

from __future__ import annotations

import re

from edge_runtime.errors import UpdateError, one_line

_FORM = re.compile(r"(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){0,3}")
_NUMBERS = 4


def order(version: str) -> tuple[int, ...]:
    """What versions are compared by: 1.10 is newer than 1.9, and 1.2 is 1.2.0. Raises `UpdateError`."""
    if _FORM.fullmatch(version) is None:
        raise UpdateError(
            f'version "{one_line(version, 60)}": one to four numbers with points between are wanted, '
            "as 1.2.3 or 20261128.1, so that a robot can tell a newer one from an older one"
        )
    numbers = [int(part) for part in version.split(".")]
    return tuple(numbers + [0] * (_NUMBERS - len(numbers)))


def refuse_older(version: str, running: str | None) -> None:
    """Raises `UpdateError` where `version` is older than the one that runs; a system without one may get any."""
    offered = order(version)
    if running is not None and offered < order(running):
        raise UpdateError(
            f"version {version} is older than {running}, which runs: a robot never goes back by an update"
        )
