"""What the black box has to leave of a fault (docs/black-box.md), by the files in its folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.faults.cases import HOLD, SAFE
from benchmarks.faults.rig import ENDED, POLL_S, Seen
from edge_runtime.black_box.box import AFTER_NS
from edge_runtime.config import Robot

WAIT_S = 10.0
"""Longest wait for a file: what follows belongs to it, and a busy machine takes its time to write."""
FAILED = "black boxes failed"


def files(robot: Robot) -> set[Path]:
    """The black boxes that are there now, whole."""
    return set(Path(robot.black_box.folder).glob("*.mcap"))


def due(seen: Sequence[Seen]) -> int:
    """How many: one for HOLD or SAFE, two where SAFE came when that of HOLD was being written already."""
    began_ns: dict[str, int] = {}
    for one in seen:
        began_ns.setdefault(one.state.partition(" ")[0], one.t_ns)
    hold_ns, safe_ns = began_ns.get(HOLD), began_ns.get(SAFE)
    if hold_ns is not None and safe_ns is None:
        safe_ns = began_ns.get(ENDED)  # between two looks
    if hold_ns is None or safe_ns is None:
        return int(hold_ns is not None or safe_ns is not None)
    return 1 if safe_ns - hold_ns < AFTER_NS else 2


def new(robot: Robot, before: set[Path], most: int) -> int:
    """How many have come since `before`; those of `most` that are not there yet are waited for."""
    end_s = time.monotonic() + WAIT_S
    while len(files(robot) - before) < most and time.monotonic() < end_s:
        time.sleep(POLL_S)
    return len(files(robot) - before)


def broken(wanted: int, written: int, failed: int) -> Iterator[str]:
    """What is not as it is to be."""
    if wanted and written != wanted:
        yield f"black boxes written: {written}, not {wanted}"
    if failed:
        yield f"black boxes failed: {failed}"
