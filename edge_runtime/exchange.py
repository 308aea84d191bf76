"""The serial cycle of all buses in one call of C (exchange.c), without the interpreter's lock from slot to answers.

The library is built when this package is installed, where there is a C compiler. Without it the same happens in Python,
later by as long as other threads keep the interpreter.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

from drivers.motors.base import Cycle

_LIBRARY = "_exchange*.so"
_LAYOUT = 3
"""As in exchange.c: a library that was built of another version of it would write where it must not."""
_PYTHON = "in Python, which other threads may delay"
_REMEDY = "sudo apt-get install gcc libc6-dev, then install edge-runtime anew"


class _Cycle(ctypes.Structure):
    """`struct cycle` of exchange.c."""

    _fields_ = [
        ("due_ns", ctypes.c_int64),
        ("latest_ns", ctypes.c_int64),
        ("began_ns", ctypes.c_int64),
        ("sent_ns", ctypes.c_int64),
        ("ended_ns", ctypes.c_int64),
        ("count", ctypes.c_int64),
        ("buses", ctypes.POINTER(ctypes.POINTER(Cycle))),
    ]


class Exchange:
    """The cycles of several buses at once. Owned by the control thread."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._call = library.exchange
        self._call.restype = None
        self._cycle = _Cycle()
        self._pointer = ctypes.byref(self._cycle)
        self._cycles: Sequence[Cycle] = ()

    @property
    def stamps(self) -> tuple[int, int, int]:
        """Of the last run: when the slot had come, when every setpoint was handed over, when all was over."""
        cycle = self._cycle
        return cycle.began_ns, cycle.sent_ns, cycle.ended_ns

    def run(self, due_ns: int, latest_ns: int, cycles: Sequence[Cycle]) -> None:
        """Wait for the slot, then do these cycles; each says for how long it waits for answers, and how far it got.

        Where the slot came later than `latest_ns`, no setpoint is sent.
        """
        if cycles != self._cycles:
            self._cycles = list(cycles)
            pointers = [ctypes.pointer(cycle) for cycle in cycles]
            self._cycle.count, self._cycle.buses = len(cycles), (ctypes.POINTER(Cycle) * len(cycles))(*pointers)
        self._cycle.due_ns, self._cycle.latest_ns = due_ns, latest_ns
        self._call(self._pointer)


def load(folder: Path = Path(__file__).parent) -> Exchange | str:
    """The library in `folder`, or one line that says why the cycle is Python's, and what to do about it."""
    found = sorted(folder.glob(_LIBRARY))
    if not found:
        return f"{_PYTHON}, as there was no C compiler at installation: {_REMEDY}"
    try:
        library = ctypes.CDLL(str(found[0]))
        library.layout.restype = ctypes.c_int64
        if library.layout() != _LAYOUT:
            return f"{_PYTHON}, as {found[0].name} is of another version: {_REMEDY}"
        return Exchange(library)
    except (OSError, AttributeError) as error:
        return f"{_PYTHON}, as {found[0].name} cannot be loaded ({error}): {_REMEDY}"
