"""A simulated GPU for tests: see `driver.py`."""

from tests.edge_runtime.backends.simulated.driver import (
    Refused,
    called,
    enqueue,
    fail,
    hang,
    memory,
    missing,
    present,
    used_bytes,
)

__all__ = ["Refused", "called", "enqueue", "fail", "hang", "memory", "missing", "present", "used_bytes"]
