"""Shares of successes and their differences, with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z = 1.959964


def wilson(successes: int, count: int) -> tuple[float, float]:
    """Wilson's interval of a share (Wilson 1927, JASA 22)."""
    share, z2 = successes / count, Z * Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def paired_difference(a: Sequence[bool], b: Sequence[bool]) -> tuple[float, float, float]:
    """Share of `a` minus share of `b` over the same episodes, and its interval (Agresti and Min 2005, Stat. Med. 24:
    Wald's interval after adding half an episode to each cell)."""
    only_a = sum(x and not y for x, y in zip(a, b, strict=True)) + 0.5
    only_b = sum(y and not x for x, y in zip(a, b, strict=True)) + 0.5
    n = len(a) + 2.0
    middle = (only_a - only_b) / n
    half = Z / n * math.sqrt(only_a + only_b - (only_a - only_b) ** 2 / n)
    return (sum(a) - sum(b)) / len(a), middle - half, middle + half
