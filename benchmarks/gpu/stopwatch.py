"""How long an inference takes on the GPU: a backend like another one, whose programs are timed as they run."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from pathlib import Path

from edge_runtime.backends.base import Backend, Feeds, Graph, Wrapped
from edge_runtime.backends.cuda.driver import call
from edge_runtime.backends.cuda.gpu import gpu
from edge_runtime.backends.cuda.program import GpuProgram
from edge_runtime.backends.program.program import Program, Watch
from edge_runtime.backends.program.steps import Step


class Stopwatch:
    """Runs from the first launch of a program to the end of the last one, until it is read."""

    def __init__(self) -> None:
        self._here = gpu()
        with self._here.current():
            self._begin, self._end = call("cuEventCreate", 0), call("cuEventCreate", 0)
        self._began_ns = self._ended_ns = 0

    def start(self) -> None:
        """Before a launch. The GPU is current."""
        if not self._began_ns:
            self._began_ns = time.perf_counter_ns()
            call("cuEventRecord", self._begin, self._here.stream)

    def stop(self) -> None:
        """Behind a launch: returns when what was launched is done. The GPU is current."""
        call("cuEventRecord", self._end, self._here.stream)
        self._here.wait()
        self._ended_ns = time.perf_counter_ns()

    def read(self) -> tuple[float, float]:
        """ms by CUDA's events, and by wall clock from launch to wait. It stands still then."""
        with self._here.current():
            events_ms = float(call("cuEventElapsedTime", self._begin, self._end))
        wall_ms, self._began_ns = (self._ended_ns - self._began_ns) / 1e6, 0
        return events_ms, wall_ms


class Timed(Wrapped):
    """A GPU backend whose programs tell `watch` their times."""

    def __init__(self, inner: Backend, watch: Stopwatch) -> None:
        super().__init__(inner)
        self._watch = watch

    def load(self, path: Path, feeds: Feeds | None = None, inner: Collection[str] = ()) -> Graph:
        return self.wrapped.load(path, feeds, inner)

    def program(self, steps: Iterable[Step]) -> Program:
        made = self.wrapped.program(steps)
        assert isinstance(made, GpuProgram)
        return _TimedProgram(made, self._watch)


class _TimedProgram(Program):
    def __init__(self, program: GpuProgram, watch: Stopwatch) -> None:
        super().__init__(program.steps)
        self._program, self._watch = program, watch

    def run(self, times: int = 1, watch: Watch | None = None) -> None:
        if watch is not None:
            self._program.run(times, watch)
            return
        with gpu().current():
            self._watch.start()
            for _ in range(times):
                self._program.launch()
            self._watch.stop()
