"""A run on a terminal or in a log: plain lines, aligned, that read the same when piped."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from textwrap import shorten
from typing import Any

from edge_runtime.report import PERCENTILES, verdict

_HEADS = {"p50": "p50", "p99": "p99", "p99_9": "p99.9", "max": "max"}
_EVENTS, _CAUSE = 20, 110
NARROW_SPACE = "\u202f"


def text(report: dict[str, Any]) -> str:
    """The whole report as lines."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: dict[str, Any]) -> Iterator[str]:
    yield f"{verdict(report)[1]}."
    yield f"{report['robot']}, {report['seconds']:.1f} s: {_states(report['states'])}"
    yield ""
    yield f"{'':24}" + "".join(f"{head:>11}" for head in _HEADS.values())
    for label, row in rows(report):
        yield f"{label:24}" + "".join(f"{number(row.get(p)) if p in row else '':>11}" for p in PERCENTILES)
    yield ""
    tracked = ", ".join(f"{name} {number(row['rms'])}" for name, row in report["tracking_mrad"].items())
    yield f"setpoint minus measured while moving, mrad rms: {tracked}"
    yield f"chunks {report['chunks']}" + "".join(f", {name} {n}" for name, n in report["counters"].items() if n)
    yield from _events(report["events"])
    yield "machine: " + "; ".join(f"{key} {flat(value)}" for key, value in report["machine"].items())


def rows(report: dict[str, Any]) -> Iterator[tuple[str, dict[str, float | None]]]:
    """The rows of percentiles, with labels: what was measured in this run, in the order of the frame's way."""
    yield "sensor to motor, ms", report["sensor_to_motor_ms"]
    yield "inference, ms", report["inference_ms"]
    yield "wake-up lateness, µs", report["control"]["lateness_us"]
    if "floor_us" in report:
        yield "  cyclictest floor, µs", report["floor_us"]
        yield "  times its floor", report["lateness_over_floor"]
    yield "jitter of the period, µs", report["control"]["jitter_us"]
    yield "setpoint sent, µs", report["control"]["sent_us"]
    yield "control tick, µs", report["control"]["tick_us"]
    yield "processor time, µs", report["control"]["cpu_us"]
    yield "serial cycle, ms", report["serial_ms"]


def number(value: float | None) -> str:
    """About three digits, thousands apart, no exponent; a dash for what was not measured."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", NARROW_SPACE)
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _states(states: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in states.items() if seconds > 0) or "no state"


def event_runs(events: list[dict[str, Any]]) -> list[tuple[dict[str, Any], int]]:
    """Events of one name in a row as the first of them, and how many there are."""
    runs = (list(same) for _, same in groupby(events, key=lambda event: str(event["name"])))
    return [(same[0], len(same)) for same in runs]


def _events(events: list[dict[str, Any]]) -> Iterator[str]:
    runs = event_runs(events)
    if len(runs) > _EVENTS:
        yield f"events, the last {sum(n for _, n in runs[-_EVENTS:])} of {len(events)}:"
    elif events:
        yield "events:"
    for first, n in runs[-_EVENTS:]:
        cause = shorten(first["cause"], _CAUSE, placeholder=" …")
        yield f"  {first['t_s']:9.3f} s  {first['name']:16} {cause}" + (f" (and {n - 1} more)" if n > 1 else "")


def flat(value: object) -> str:
    """A value of the machine's description on one line."""
    if isinstance(value, dict):
        return "(" + ", ".join(f"{k} {flat(v)}" for k, v in value.items()) + ")"
    if isinstance(value, list):
        return ", ".join(map(flat, value)) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
