"""What a boot test has found: a row for each check, told as it comes and kept as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from drivers.errors import DriverError
from edge_runtime.errors import EdgeError
from edge_runtime.files import write_whole

FOLDER = Path(__file__).parents[1] / "results"
_FAILURES = (EdgeError, DriverError, OSError, subprocess.SubprocessError)


class Wrong(Exception):
    """What was seen is not what was expected."""


@dataclass(frozen=True)
class Row:
    """One check; `seconds`: how long it took to make."""

    name: str
    expected: str
    seen: str
    good: bool
    seconds: float


class Checks:
    """The rows of one boot test, in the order they were made."""

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        """`tell` gets a line for each as it comes; by default it is printed."""
        self.rows: list[Row] = []
        self._tell = tell or partial(print, flush=True)
        self._began_s = time.monotonic()

    def check(self, name: str, expected: str, look: Callable[[], str]) -> bool:
        """Make one: `look` answers what was seen, or raises `Wrong` with it. Whatever fails is a row too."""
        began_s = time.monotonic()
        try:
            seen, good = look(), True
        except Wrong as wrong:
            seen, good = str(wrong), False
        except _FAILURES as error:
            seen, good = f"{type(error).__name__}: {error}", False
        row = Row(name, expected, " ".join(seen.split()), good, round(time.monotonic() - began_s, 2))
        self.rows.append(row)
        self._tell(line(row))
        return good

    @property
    def good(self) -> bool:
        """All of them were, and there was one."""
        return bool(self.rows) and all(row.good for row in self.rows)

    def write(self, name: str, **facts: Any) -> Path:
        """Keep them as benchmarks/results/boot_`name`.json, with date, machine and what else is known."""
        told = {
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "kernel": platform.release(),
            "load_average": round(os.getloadavg()[0], 1),
            **facts,
            "seconds": round(time.monotonic() - self._began_s, 1),
            "good": self.good,
            "checks": [asdict(row) for row in self.rows],
        }
        path = FOLDER / f"boot_{name}.json"
        write_whole(path, json.dumps(told, indent=1) + "\n")
        return path


def line(row: Row) -> str:
    """For people; what was expected is said where it was not so."""
    told = f"{'ok' if row.good else 'WRONG':6}{row.seconds:6.1f} s  {row.name}: {row.seen}"
    return told if row.good else f"{told}\n{'':16}expected: {row.expected}"


def until(what: Callable[[], bool], limit_s: float, otherwise: Callable[[], str], poll_s: float = 0.05) -> float:
    """Wait for it; how long that took, in seconds. Raises `Wrong` with what is so `otherwise`."""
    began_s = time.monotonic()
    while not what():
        if time.monotonic() - began_s > limit_s:
            raise Wrong(f"not within {limit_s:g} s: {otherwise()}")
        time.sleep(poll_s)
    return time.monotonic() - began_s
