"""How much Python memory a call leaves behind, once it is warm."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable


def growth(call: Callable[[], object], times: int = 200) -> int:
    """Bytes that `times` calls leave behind after as many before them."""
    tracemalloc.start()
    try:
        for _ in range(times):
            call()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(times):
            call()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
