"""How much Python memory a call leaves behind, once it is warm."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

WARM = 1100
"""Calls before it counts: Python 3.10 gives a function its attribute caches at its 1024th run."""


def growth(call: Callable[[], object], times: int = 200) -> int:
    """Bytes that `times` calls leave behind once `call` is warm."""
    tracemalloc.start()
    try:
        for _ in range(WARM):
            call()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(times):
            call()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
