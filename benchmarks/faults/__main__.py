"""`make faults`: break one thing after another while the simulated arm is at a task, and hold what happens to bounds.

    python -m benchmarks.faults [--only WORDS] [--json FILE]

Each fault is made from another process. Exit code 1 where a bound is broken, 2 where the trial could not be made.
docs/faults.md says what the columns mean. The table that is kept: --json benchmarks/results/faults.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress

from benchmarks.faults.cases import CASES, Case
from benchmarks.faults.rig import Rig
from benchmarks.faults.trial import Result, run
from drivers.errors import DriverError
from edge_runtime.errors import EdgeError
from edge_runtime.files import write_whole

COLUMNS = (42, 32, 10, 12, 10, 11, 12, 9)
HEADS = ("fault", "states", "noticed", "of at most", "at rest", "moved", "of at most", "back")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="WORDS", default="", help="faults whose name has these words in it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table for programs")
    options = parser.parse_args()
    chosen = named(options.only)
    if not chosen:
        known = ", ".join(case.name for case in CASES)
        print(f'faults: no fault has "{options.only}" in its name; known: {known}', file=sys.stderr)
        return 2
    began_s = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="edge-") as place, Rig(Path(place) / "sim") as rig:
            results = trials(chosen, rig)
            rig.end()
    except (EdgeError, DriverError) as error:
        print(f"faults: {error}", file=sys.stderr)
        return 2
    print(table(results))
    if options.json is not None:
        found = {**about(rig), "seconds": round(time.monotonic() - began_s, 1), "faults": [r.plain() for r in results]}
        write_whole(options.json, json.dumps(found, indent=2) + "\n")
    broken = [f"{result.name}: {what}" for result in results for what in result.broken] + list(too_old(rig))
    print("\n".join(broken) or "every bound was kept")
    return 1 if broken else 0


def named(words: str) -> list[Case]:
    """The faults whose name has `words` in it, small letters or capitals."""
    return [case for case in CASES if words.casefold() in case.name.casefold()]


def trials(cases: Sequence[Case], rig: Rig) -> list[Result]:
    """One after another. Raises `EdgeError` and `DriverError`."""
    results = []
    with Progress(transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=len(cases))
        for case in cases:
            bar.update(task, description=case.name)
            results.append(run(case, rig))
            bar.advance(task)
    return results


def table(results: Sequence[Result]) -> str:
    """For people: a line a fault."""
    return "\n".join([f"{_line(HEADS)}  by", *map(_row, results)])


def _row(result: Result) -> str:
    if result.skipped:
        return f"{result.name:{COLUMNS[0]}}not made: {result.skipped}"
    path = result.path if len(result.path) < 5 else [*result.path[:2], "…", result.path[-1]]
    allowed_ms = result.allowed_ms if result.detected_ms is not None else None
    times = (_cell(value, "ms") for value in (result.detected_ms, allowed_ms, result.rest_ms))
    ways = (_cell(value, "rad") for value in (result.moved_rad, result.bound_rad))
    line = _line((result.name, " → ".join(path), *times, *ways, _cell(result.back_s, "s")))
    return f"{line}  {', '.join(result.back) or 'itself'}{'  BROKEN' if result.broken else ''}"


def _line(cells: Sequence[str]) -> str:
    """Text to the left, figures to the right."""
    aligned = zip(cells, COLUMNS, "<<>>>>>>", strict=True)
    return "".join(f"{cell:{side}{width}}" for cell, width, side in aligned)


def _cell(value: float | None, unit: str) -> str:
    digits = {"ms": 0, "rad": 3, "s": 1}[unit]
    return "–" if value is None else f"{value:.{digits}f} {unit}"


def too_old(rig: Rig) -> Iterator[str]:
    """What the program itself has recorded: no setpoint of frames older than a chunk may be, and coast."""
    most_ms = rig.config.deadlines.chunk_age_ms + rig.config.deadlines.coast_ms
    if (oldest_ms := rig.oldest_ms) > most_ms:
        yield f"a setpoint was of frames {oldest_ms:.0f} ms old, limit {most_ms:g} ms"


def about(rig: Rig) -> dict[str, Any]:
    """The machine, how busy it was with other things, and what the program has recorded itself."""
    return {
        "machine": rig.reports[-1]["machine"],
        "load_average": round(os.getloadavg()[0], 1),
        "oldest_frame_behind_a_setpoint_ms": rig.oldest_ms,
    }


if __name__ == "__main__":
    sys.exit(main())
