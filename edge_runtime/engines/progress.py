"""How far a build is, from TensorRT's progress monitor; the same monitor is how a build is cancelled."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Tell = Callable[[float], None]
"""Called with the part of a build that is done, 0 to 1."""


class Phases:
    """Phases within phases, each of so many steps → the part of the whole that is done. Any thread may report."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parent: dict[str, str | None] = {}
        self._steps: dict[str, list[int]] = {}
        self._most = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._parent[name], self._steps[name] = parent, [0, max(1, steps)]

    def step(self, name: str, step: int) -> None:
        with self._lock:
            if name in self._steps:
                self._steps[name][0] = max(self._steps[name][0], step + 1)

    def finish(self, name: str) -> None:
        with self._lock:
            self._parent.pop(name, None)
            self._steps.pop(name, None)

    def done(self) -> float:
        """Never less than it was: a phase that ends before its parent counts its step would look like a step back."""
        with self._lock:
            roots = [name for name, parent in self._parent.items() if parent not in self._steps]
            self._most = max(self._most, max(map(self._part, roots), default=0.0))
            return self._most

    def _part(self, name: str) -> float:
        done, steps = self._steps[name]
        within = max((self._part(child) for child, parent in self._parent.items() if parent == name), default=0.0)
        return min(1.0, (done + within) / steps)


class Stop:
    """Whether a build is to end."""

    asked = False

    @contextmanager
    def on_interrupt(self) -> Iterator[None]:
        """Within the block Ctrl-C asks for the end, and a second one ends the process as it is.

        So do SIGTERM and SIGHUP where they are handled: a handler that raises must not run within the library.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        known = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        before = {number: handler for number, handler in known.items() if callable(handler)}
        for number in before:
            signal.signal(number, self._interrupted)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupted(self, number: int, _frame: Any) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL)


def monitor(trt: Any, tell: Tell, stop: Stop) -> Any:
    """TensorRT's `IProgressMonitor` that reports to `tell` and cancels when `stop` is asked for."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._phases = Phases()

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self._phases.start(name, parent, steps)

        def step_complete(self, name: str, step: int) -> bool:
            self._phases.step(name, step)
            tell(self._phases.done())
            return not stop.asked

        def phase_finish(self, name: str) -> None:
            self._phases.finish(name)

    return Monitor()
