"""A program on the simulated GPU: what it launches, when it waits, what it says where that fails."""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.backends.base import Backend
from edge_runtime.backends.cuda.backend import GpuBackend
from edge_runtime.backends.cuda.gpu import gpu
from edge_runtime.backends.cuda.graph import WARM_UPS, GpuGraph
from edge_runtime.backends.cuda.program import GpuProgram
from edge_runtime.backends.program.steps import Add, Copy, Run
from edge_runtime.backends.program.tensor import Kind, Tensor
from edge_runtime.errors import BackendError, DeviceLost
from tests.edge_runtime.backends import simulated
from tests.edge_runtime.engines.fakes import Machine
from tests.edge_runtime.memory import growth

Array = np.ndarray[Any, Any]
ROW = Kind((3,), np.dtype(np.float32))
ILLEGAL, INVALID, OUT_OF_MEMORY = 700, 1, 2
RUN = Counter(
    ("cuCtxPushCurrent", "cuGraphLaunch", "cuEventRecord", "cuEventSynchronize", "cuCtxPopCurrent"),
)
"""All that the driver is asked for by a run."""


class Double(GpuGraph):
    """y = x + x, as a library would do it: enqueued, and done when the stream gets there."""

    def __init__(self, name: str, feeds: Any = None) -> None:
        super().__init__(Path(name), {"x": ROW}, {"y": ROW}, feeds or {}, ())
        self.done = 0
        self.before: Callable[[], None] = lambda: None

    def enqueue(self) -> None:
        self.before()
        simulated.enqueue(gpu().stream, self._do)

    def _do(self) -> None:
        x, y = (simulated.memory(self.at[name].address, *ROW) for name in ("x", "y"))
        np.add(x, x, out=y)
        self.done += 1


class NoLibrary(GpuBackend):
    def load(self, path: Path, feeds: Any = None, inner: Any = ()) -> Double:
        return Double(str(path), feeds)


@dataclass
class Rig:
    """x → first → second → y, and 0.5·y is added to `total`."""

    backend: Backend
    first: Double
    second: Double
    total: Tensor
    program: GpuProgram

    def run(self, value: float) -> float:
        self.first.inputs["x"][:] = value
        self.program.run()
        return float(self.total.host[0])


def rig() -> Rig:
    backend = NoLibrary()
    first = backend.load(Path("first"))
    second = backend.load(Path("second"), {"x": (first, "y")})
    total = backend.shared((3,), np.float32)
    steps = [Run("first", first), Run("second", second), Add(total, second.tensor("y"), np.float32(0.5))]
    program = backend.program(steps)
    assert isinstance(program, GpuProgram)
    return Rig(backend, first, second, total, program)


@pytest.fixture(params=[True, False], ids=["integrated", "card"])
def made(machine: Machine, request: pytest.FixtureRequest) -> Rig:
    machine.install(integrated=request.param)
    return rig()


def test_a_run_is_one_launch_and_one_wait(made: Rig) -> None:
    before = simulated.called()
    assert [made.run(value) for value in (1.0, 2.0, -3.0)] == [2.0, 6.0, 0.0]
    assert simulated.called() - before == Counter(dict.fromkeys(RUN, 3))


def test_runs_in_a_row_are_waited_for_once(made: Rig) -> None:
    made.first.inputs["x"][:] = 1.0
    before = simulated.called()
    made.program.run(times=4)
    assert made.total.host.tolist() == [8.0] * 3
    assert simulated.called() - before == RUN + Counter(cuGraphLaunch=3)


def test_a_run_leaves_nothing_behind(made: Rig) -> None:
    used = simulated.used_bytes()
    assert growth(made.program.run, times=50) < 500
    assert simulated.used_bytes() == used


def test_only_graphs_run_before_the_capture_and_nothing_between_them(made: Rig) -> None:
    assert (made.first.done, made.second.done) == (WARM_UPS, WARM_UPS)
    assert made.total.host.tolist() == [0.0] * 3


def test_it_runs_in_another_thread_than_it_was_made_in(made: Rig) -> None:
    """A policy is opened by the main thread and runs in the inference thread."""
    found: list[float] = []
    thread = threading.Thread(target=lambda: found.append(made.run(2.0)))
    thread.start()
    thread.join()
    assert found == [4.0]


def test_the_interpreter_lock_is_released_while_it_waits(made: Rig) -> None:
    simulated.hang(0.5)
    thread = threading.Thread(target=made.program.run)
    thread.start()
    ticks = 0
    while thread.is_alive():
        time.sleep(0.01)
        ticks += 1
    assert ticks > 5, "with the lock held it would be one"


def test_what_fails_in_a_run_is_told_of_its_graphs(made: Rig) -> None:
    simulated.fail("cuGraphLaunch", INVALID)
    with pytest.raises(
        BackendError, match=r"^first → second: failed while it ran: cuGraphLaunch: CUDA_ERROR_INVALID_V"
    ):
        made.program.run(times=3)
    assert made.run(1.0) == 2.0


def test_a_gpu_that_has_failed_for_good_is_lost(made: Rig) -> None:
    """Whoever runs a policy must know that it is no use to ask again."""
    simulated.enqueue(gpu().stream, lambda: [][0])  # noqa: PLE0643  work that fails, as a bad address does
    for _ in range(2):
        with pytest.raises(
            DeviceLost, match=r"^first → second: failed while it ran: .*LAUNCH_FAILED.* start it again$"
        ):
            made.program.run()
    with pytest.raises(DeviceLost, match=r"^first: failed while it ran: "):
        made.first.run()


def test_a_collection_does_not_end_a_capture(machine: Machine) -> None:
    """Garbage may own memory of the GPU, and freeing that is what a capture forbids."""
    machine.install()
    backend, graph = NoLibrary(), Double("third")
    used = simulated.used_bytes()
    litter: list[Any] = [backend.private((64,), np.float32)]
    litter.append(litter)
    del litter
    later = iter([lambda: None] * WARM_UPS + [lambda: [object() for _ in range(100_000)]])
    graph.before = lambda: next(later)()  # noqa: PLW0108  another one each time
    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        GpuProgram([Run("third", graph)]).run()
        assert gc.isenabled()
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert simulated.used_bytes() < used + 64 * 4


def offended() -> None:
    raise BackendError("third.onnx: operation not permitted when stream is capturing")


@pytest.mark.parametrize(
    ("offence", "refusal"),
    [
        (lambda: gpu().wait(), "cuEventSynchronize: CUDA_ERROR_CAPTURED_EVENT"),
        (
            lambda: gpu().private((1,), np.dtype(np.uint8), "a test"),
            "cuMemAlloc: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
        ),
        (offended, r"third\.onnx: operation not permitted when"),
    ],
    ids=["waits", "allocates", "says so"],
)
def test_what_cannot_be_captured_is_said_and_harms_nothing(
    machine: Machine, offence: Callable[[], object], refusal: str
) -> None:
    """A library that does in the middle of an inference what a capture forbids, and not only in its first ones."""
    machine.install()
    before, graph = rig(), Double("third")
    later = iter([lambda: None] * WARM_UPS + [offence])
    graph.before = lambda: next(later)()  # noqa: PLW0108  another one each time
    with pytest.raises(BackendError, match=rf"^third: cannot be captured as a CUDA graph: {refusal}"):
        GpuProgram([Run("third", graph)])
    assert before.run(1.0) == 2.0


@pytest.mark.parametrize("function", ["cuGraphInstantiateWithFlags", "cuGraphUpload", "cuModuleLoadData"])
def test_memory_that_a_capture_lacks_is_told_with_what_is_left(machine: Machine, function: str) -> None:
    machine.install()
    graph = Double("third")
    simulated.fail(function, OUT_OF_MEMORY)
    with pytest.raises(
        BackendError, match=r"^third: \w.*: the GPU has no memory left for it: 6\d of 64 MiB are free; q"
    ):
        GpuProgram([Run("third", graph)])


def test_graphs_warm_up_once_however_many_programs_have_them(made: Rig) -> None:
    GpuProgram(made.program.steps)
    assert (made.first.done, made.second.done) == (WARM_UPS, WARM_UPS)


def test_a_graph_that_cannot_run_is_said_before_anything_is_captured(machine: Machine) -> None:
    machine.install()
    graph = Double("third")
    simulated.fail("cuEventSynchronize", ILLEGAL, after=2)  # behind the memory of the graph, and the kernels
    with pytest.raises(BackendError, match=r"^third: failed while it ran: "):
        GpuProgram([Run("third", graph)])
    assert not simulated.called()["cuStreamBeginCapture"]


def test_a_graph_by_itself_is_uploaded_run_and_waited_for(made: Rig) -> None:
    made.first.inputs["x"][:] = 4.0
    made.first.run()
    assert made.first.outputs["y"].tolist() == [8.0] * 3
    assert (list(made.first.outputs), len(made.first.outputs)) == (["y"], 1)
    simulated.fail("cuEventRecord", INVALID)
    with pytest.raises(BackendError, match=r"^first: failed while it ran: cuEventRecord: "):
        made.first.run()


@pytest.mark.parametrize("integrated", [True, False])
def test_memory_that_is_not_there_is_told_of_who_asked_for_it(machine: Machine, integrated: bool) -> None:
    machine.install(memory_bytes=1 << 20, integrated=integrated)
    backend = NoLibrary()
    with pytest.raises(
        BackendError, match=r"^the policy's steps: the GPU has no 2 MiB left for it: [01] of 1 MiB are f"
    ):
        backend.private((1 << 21,), np.uint8)
    with pytest.raises(BackendError, match=r"^the policy's constants: the GPU has no 2 MiB left for it: "):
        backend.constant(np.zeros(1 << 21, np.uint8))
    whose = "the GPU has no 2 MiB left" if integrated else "this computer has no 2 MiB that can be page-locked"
    with pytest.raises(BackendError, match=rf"^the policy's observations and actions: {whose} for it"):
        backend.shared((1 << 21,), np.uint8)


def test_page_locked_memory_lives_as_long_as_an_array_of_it(machine: Machine) -> None:
    machine.install()
    backend, before = NoLibrary(), simulated.used_bytes()
    array = backend.shared((4,), np.int64).host[1:]
    array[:] = 7
    assert simulated.used_bytes() > before
    backend.program([Copy(backend.constant(np.ones(4)), backend.private((4,), np.float64))])
    assert array.tolist() == [7] * 3
    del array
    gc.collect()
    assert simulated.used_bytes() == before


def test_without_a_gpu_or_memory_for_a_context_it_says_so(machine: Machine) -> None:
    machine.install()
    machine.remove()
    with pytest.raises(
        BackendError, match=r"^no GPU can be reached from here: cuInit: CUDA_ERROR_NO_DEVICE .*; is its"
    ):
        gpu()
