"""How late this machine wakes any thread at all: `cyclictest` (rt-tests) as the floor under the loop's own lateness."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import EdgeError

LONGEST_US = 20_000
"""Wake-ups later than this are only counted and share the figure of the latest one."""
_HOW = "sudo apt-get install rt-tests"


@dataclass(frozen=True)
class Floor:
    """Wake-up lateness: `counts[i]` wake-ups were i to i + 1 µs late, `beyond` were later than all of these."""

    counts: NDArray[np.int64]
    beyond: int
    max_us: int

    @property
    def total(self) -> int:
        return int(self.counts.sum()) + self.beyond

    def late_by(self, us: int) -> int:
        """How many wake-ups were so late at least; of those beyond the histogram, which is not known, all."""
        return int(self.counts[us:].sum()) + self.beyond

    def quantiles(self) -> dict[str, float]:
        """p50, p99, p99.9 and the greatest, µs; the percentile is the next higher wake-up, as in the report."""
        ranked = np.cumsum(self.counts)
        found = {}
        for name, share in (("p50", 0.50), ("p99", 0.99), ("p99_9", 0.999)):
            rank = int(np.ceil(share * (self.total - 1))) + 1
            index = int(np.searchsorted(ranked, rank))
            found[name] = float(index) if index < self.counts.size else float(self.max_us)
        return {**found, "max": float(self.max_us)}

    def __add__(self, other: Floor) -> Floor:
        size = max(self.counts.size, other.counts.size)
        counts = np.zeros(size, np.int64)
        counts[: self.counts.size] += self.counts
        counts[: other.counts.size] += other.counts
        return Floor(counts, self.beyond + other.beyond, max(self.max_us, other.max_us))


def parse(text: str) -> Floor:
    """What `cyclictest -q -h` prints for one thread. Raises `EdgeError` where that is not in it."""
    rows = [(int(us), int(n)) for us, n in re.findall(r"^(\d+)\s+(\d+)$", text, re.MULTILINE)]
    latest = re.search(r"^# Max Latencies:\s*(\d+)", text, re.MULTILINE)
    beyond = re.search(r"^# Histogram Overflows:\s*(\d+)", text, re.MULTILINE)
    if not rows or latest is None or beyond is None or not sum(n for _, n in rows) + int(beyond[1]):
        raise EdgeError("cyclictest printed no histogram that can be read: no floor for this run")
    counts = np.zeros(max(us for us, _ in rows) + 1, np.int64)
    for us, n in rows:
        counts[us] = n
    return Floor(counts, int(beyond[1]), int(latest[1]))


def measure(period_us: int, priority: int, seconds: float, cpu: int = -1) -> Floor:
    """Run `cyclictest` for `seconds` at this period, SCHED_FIFO priority and core (any where -1).

    It locks its memory and leaves power management as it is for the loop. Raises `EdgeError`, one line that says what
    to do, where it is not installed or may not.
    """
    program = shutil.which("cyclictest")
    if program is None:
        raise EdgeError(f"no floor measured: cyclictest is not installed: {_HOW}")
    command = [program, "--default-system", "-m", "-q", "-t1", f"-p{priority}", f"-i{period_us}", f"-h{LONGEST_US}"]
    command += [f"-l{max(1, round(seconds * 1e6 / period_us))}", *([f"-a{cpu}"] if cpu >= 0 else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * seconds + 30, check=False)
    if done.returncode:
        why = " ".join((done.stderr or done.stdout).split())[:120]
        raise EdgeError(f"no floor measured: cyclictest failed: {why or f'exit code {done.returncode}'}")
    return parse(done.stdout)
