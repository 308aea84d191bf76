"""A program as one CUDA graph: captured when it is made, after it has run once as it is; then one launch a run.

CUDA's waits have no deadline. A run that takes too long is seen by the watchdog, which judges how long an inference has
been in flight; nothing here can end one that hangs.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from edge_runtime.backends.cuda import kernels
from edge_runtime.backends.cuda.driver import CudaError, call, driver
from edge_runtime.backends.cuda.gpu import gpu
from edge_runtime.backends.program.program import Program, Watch
from edge_runtime.backends.program.steps import Run, Step
from edge_runtime.errors import BackendError

if TYPE_CHECKING:
    from edge_runtime.backends.cuda.graph import GpuGraph

WARM_UPS = 2
"""Runs of each graph before the capture: a library allocates, tunes and loads kernels in its first ones, which a
capture forbids. What stands between graphs is not done: to make a program changes nothing but their outputs."""


class GpuProgram(Program):
    """Steps on the GPU. Raises `BackendError` where they cannot run, or cannot be captured."""

    def __init__(self, steps: Iterable[Step]) -> None:
        super().__init__(steps)
        self._here = gpu()
        self._name = " → ".join(dict.fromkeys(step.name for step in self.steps if isinstance(step, Run))) or "copies"
        self._uploads = tuple(upload for graph in self._graphs() for upload in graph.uploads)
        with self._told("failed while it ran"):
            kernels.load()
            for graph in self._graphs():
                for _ in range(WARM_UPS):
                    graph.enqueue()
                    self._here.wait()
        with self._told("cannot be captured as a CUDA graph"):
            self._captured = self._capture()

    def launch(self) -> None:
        """Put all steps on the stream, in one launch, and return before they are done. The GPU is current."""
        call("cuGraphLaunch", self._captured, self._here.stream)

    def run(self, times: int = 1, watch: Watch | None = None) -> None:
        with self._told("failed while it ran"):
            for _ in range(times):
                if watch is None:
                    self.launch()
                else:
                    self._enqueue(watch)
            self._here.wait()

    def _graphs(self) -> Iterator[GpuGraph]:
        """Each graph once, in order."""
        yield from dict.fromkeys(cast("GpuGraph", step.graph) for step in self.steps if isinstance(step, Run))

    def _enqueue(self, watch: Watch | None = None) -> None:
        for upload in self._uploads:
            kernels.enqueue(upload)
        for step in self.steps:
            if not isinstance(step, Run):
                kernels.enqueue(step)
                continue
            cast("GpuGraph", step.graph).enqueue()
            if watch is not None:
                watch(step.name, step.graph)

    def _capture(self) -> Any:
        cuda, stream = driver(), self._here.stream
        call("cuStreamBeginCapture", stream, cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        try:
            self._enqueue()
        except BaseException:
            with suppress(CudaError):
                _destroy("cuGraphDestroy", call("cuStreamEndCapture", stream))
            raise
        graph = call("cuStreamEndCapture", stream)
        try:
            captured = call("cuGraphInstantiate", graph, 0)
        finally:
            _destroy("cuGraphDestroy", graph)
        weakref.finalize(self, _destroy, "cuGraphExecDestroy", captured).atexit = False
        call("cuGraphUpload", captured, stream)
        self._here.wait()
        return captured

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """The GPU is current; what the driver refuses is told of this program."""
        try:
            with self._here.current():
                yield
        except CudaError as error:
            raise BackendError(f"{self._name}: {what}: {error}") from error


def _destroy(function: str, thing: Any) -> None:
    with suppress(BackendError):
        call(function, thing)
