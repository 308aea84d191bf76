"""A bench in words: the run's report, and below it what only a bench knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edge_runtime import report_text


def text(report: dict[str, Any]) -> str:
    """The whole of it as lines."""
    return report_text.text(report) + "".join(f"{line}\n" for line in _lines(report))


def _lines(report: dict[str, Any]) -> Iterator[str]:
    yield f"beside it: {'busy ' + report['load'] if report['load'] else 'nothing more'}"
    if report["floor_missed"] is not None:
        yield f"slots that cyclictest missed: {report['floor_missed']}; this loop: {report['control']['missed']}"
    late = report["late"]
    if late["ticks"]:
        yield (
            f"ticks that woke half a millisecond late or more: {late['ticks']}, of which {late['after_serial']} "
            "because the kernel kept the serial cycle before beyond its deadline"
        )
    if (faults := report["page_faults"]) is None:
        yield "page faults of the control thread: not counted, the run was too short"
    else:
        yield f"page faults of the control thread, once it was warm: {faults['minor']} minor, {faults['major']} major"
    if report["sensor_to_motor_ms"]["p50"] is None:
        yield "sensor to motor: not measured, nothing was written to the motors"
    before, after = report["power"]["before"], report["power"]["after"]
    for name, found in after.items():
        yield f"{name}: {found}" + (f" (before: {before[name]})" if before.get(name, found) != found else "")
    if not after:
        yield "power mode, clocks and temperature: this machine does not say"
