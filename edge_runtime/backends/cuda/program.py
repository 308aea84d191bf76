"""A program as one CUDA graph: captured when it is made, after its graphs have run as they are; then one launch a run.

What stands between graphs is first done by a run: to make a program changes nothing but its graphs' outputs.

CUDA's waits have no deadline. A run that takes too long is seen by the watchdog, which judges how long an inference has
been in flight; nothing here can end one that hangs.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from edge_runtime.backends.cuda import kernels
from edge_runtime.backends.cuda.driver import NO_MEMORY, CudaError, call, driver, refusal
from edge_runtime.backends.cuda.gpu import gpu
from edge_runtime.backends.cuda.graph import GpuGraph
from edge_runtime.backends.program.program import Program, Watch
from edge_runtime.backends.program.steps import Run, Step
from edge_runtime.errors import BackendError


class GpuProgram(Program):
    """Steps on the GPU. Raises `BackendError` where they cannot run, or cannot be captured."""

    def __init__(self, steps: Iterable[Step]) -> None:
        super().__init__(steps)
        self._here = gpu()
        self._name = " → ".join(dict.fromkeys(step.name for step in self.steps if isinstance(step, Run))) or "copies"
        self._uploads = tuple(upload for graph in self._graphs() for upload in graph.uploads)
        with self._told(_FAILED):
            kernels.load()
            for graph in self._graphs():
                graph.warm_up()
        with self._told("cannot be captured as a CUDA graph"):
            self._captured = self._capture()

    def launch(self) -> None:
        """Put all steps on the stream, in one launch, and return before they are done. The GPU is current."""
        call("cuGraphLaunch", self._captured, self._here.stream)

    def run(self, times: int = 1, watch: Watch | None = None) -> None:
        with self._told(_FAILED):
            for _ in range(times):
                if watch is None:
                    self.launch()
                else:
                    self._enqueue(watch)
            self._here.wait()

    def _graphs(self) -> Iterator[GpuGraph]:
        """Each graph once, in order."""
        yield from dict.fromkeys(_on_gpu(step) for step in self.steps if isinstance(step, Run))

    def _enqueue(self, watch: Watch | None = None) -> None:
        for upload in self._uploads:
            kernels.enqueue(upload)
        for step in self.steps:
            if not isinstance(step, Run):
                kernels.enqueue(step)
                continue
            _on_gpu(step).enqueue()
            if watch is not None:
                watch(step.name, step.graph)

    def _capture(self) -> Any:
        stream = self._here.stream
        with _no_collection():
            graph = self._recorded(stream)
        try:
            captured = call("cuGraphInstantiate", graph, 0)
        finally:
            _destroy("cuGraphDestroy", graph)
        weakref.finalize(self, _destroy, "cuGraphExecDestroy", captured).atexit = False
        call("cuGraphUpload", captured, stream)
        self._here.wait()
        return captured

    def _recorded(self, stream: int) -> Any:
        """All steps as a graph that nobody has run."""
        call("cuStreamBeginCapture", stream, driver().CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        try:
            self._enqueue()
        except BaseException:
            with suppress(CudaError):
                _destroy("cuGraphDestroy", call("cuStreamEndCapture", stream))
            raise
        return call("cuStreamEndCapture", stream)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """The GPU is current; what the driver or a library refuses is told of this program."""
        where = f"{self._name}: {what}"
        try:
            with self._here.current():
                yield
        except CudaError as error:
            if error.code == NO_MEMORY:
                raise BackendError(self._here.lacking(where)) from error
            raise refusal(error, where) from error
        except BackendError as error:  # a library's, which names its graph
            raise error if what == _FAILED else BackendError(f"{where}: {error}") from error


_FAILED = "failed while it ran"


def _on_gpu(step: Run) -> GpuGraph:
    assert isinstance(step.graph, GpuGraph), f"{step.name} is not on the GPU"
    return step.graph


@contextmanager
def _no_collection() -> Iterator[None]:
    """Within the block nothing is collected: what frees memory of the GPU would end a capture."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _destroy(function: str, thing: Any) -> None:
    with suppress(BackendError):
        call(function, thing)
