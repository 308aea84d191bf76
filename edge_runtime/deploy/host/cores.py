"""Keeping everything but the control thread off its core."""

from __future__ import annotations

LAST = 1023
"""Highest core that robot.toml can name."""


def all_but(cpu: int) -> str:
    """Every core but `cpu`, as CPUAffinity= takes it: the kernel passes over cores that the machine has not
    (sched_setaffinity(2)), unlike AllowedCPUs=, whose cpuset refuses them. So nobody needs to know how many there are.
    """
    ranges = ((0, cpu - 1), (cpu + 1, LAST))
    return " ".join(f"{first}-{last}" if first < last else f"{first}" for first, last in ranges if first <= last)
