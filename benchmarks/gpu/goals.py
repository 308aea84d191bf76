"""The goal, line by line: met, not met, or not run. It is about pi0 with two cameras and ten steps.

torch.compile counts in mode max-autotune alone: it is the fastest that PyTorch has, and what openpi compiles pi0 with
(its `pi0_config.py`, pytorch_compile_mode). Its mode "default" is in the table, and no goal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STEADY, EAGER, COMPILE, FLOOR = 1.05, 5.0, 1.0, 2.0
GOAL, MODE = ("pi0", 2), "max-autotune"


def goals(rows: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each goal by name with its `state`, the figure that was `found` and the one it is held to, a backend after the
    other. Where no backend ran they are not run."""
    row = next((row for row in rows if (row["model"], row["cameras"]) == GOAL), None)
    ran = {name: part for name, part in (row or {}).get("ours", {}).items() if part["ran"]}
    if row is None or not ran:
        return [_line(name, "", None, limit, low) for name, limit, low in _NAMES]
    found = []
    for backend, part in ran.items():
        lines = [_line(name, backend, _found(name, row, part), limit, low) for name, limit, low in _NAMES]
        wrong = part.get("agreement", {}).get("verdict") == "fail"
        found += [line | {"state": "not met: it computes something else"} for line in lines] if wrong else lines
    return found


_NAMES = (
    ("p99 / p50, the worse of events and wall clock", STEADY, True),
    ("PyTorch eager / ours, p50", EAGER, False),
    ("torch.compile, max-autotune, one CUDA graph / ours, p50", COMPILE, False),
    ("p50 / roofline floor", FLOOR, True),
)


def _found(name: str, row: Mapping[str, Any], part: Mapping[str, Any]) -> float | None:
    wall, events = part["wall_ms"], part["events_ms"]
    if name == _NAMES[0][0]:
        return max(times["p99"] / times["p50"] for times in (wall, events))
    if name == _NAMES[3][0]:
        return events["p50"] / row["floor_ms"] if row.get("floor_ms") else None
    other = row.get("eager" if name == _NAMES[1][0] else "compile", {})
    if other.get("mode", MODE) != MODE:
        return None
    return other["wall_ms"]["p50"] / wall["p50"] if other.get("ran") else None


def _line(name: str, backend: str, found: float | None, limit: float, low: bool) -> dict[str, Any]:
    state = "not run" if found is None else "met" if (found <= limit if low else found >= limit) else "not met"
    rounded = None if found is None else round(found, 3)
    return {
        "goal": name,
        "backend": backend,
        "limit": f"{'≤' if low else '≥'} {limit:g}",
        "found": rounded,
        "state": state,
    }
