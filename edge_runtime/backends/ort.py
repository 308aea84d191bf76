"""ONNX Runtime on the CPU, and with its CUDA provider: every input and output bound once to memory that never moves.

The CUDA provider was not run on hardware yet: held to a fake of it over a simulated driver in the tests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.backends.base import Backend, Buffer, Feeds, Graph, feed_buffers
from edge_runtime.backends.cuda import ort_library
from edge_runtime.backends.cuda.backend import GpuBackend
from edge_runtime.backends.cuda.gpu import gpu
from edge_runtime.backends.cuda.graph import GpuGraph
from edge_runtime.backends.program.tensor import Kind
from edge_runtime.errors import BackendError, one_line

_DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}

_HARMFUL = ["MatMulAddFusion"]
"""It makes a Gemm of a product and its bias, which no integer kernel takes: weights would be dequantized every run."""


class OrtGraph(Graph):
    """One session and its binding."""

    def __init__(
        self, path: Path, session: Any, inputs: dict[str, Buffer], fed: dict[str, Buffer], outputs: dict[str, Buffer]
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self._path = path
        self._fed = fed  # keeps the bound memory alive
        self._session = session
        self._binding = session.io_binding()
        for name, buffer in {**inputs, **fed}.items():
            self._binding.bind_input(name, "cpu", 0, buffer.dtype.type, buffer.shape, buffer.ctypes.data)
        for name, buffer in outputs.items():
            self._binding.bind_output(name, "cpu", 0, buffer.dtype.type, buffer.shape, buffer.ctypes.data)

    def run(self) -> None:
        try:
            self._session.run_with_iobinding(self._binding)
        except _refusals() as error:
            raise BackendError(f"{self._path}: failed while it ran: {one_line(error)}") from error


class Engine(Backend):
    """`threads` cores, which sleep between operators instead of spinning: the control thread needs them too.

    Integer products are exact: on x86 processors without VNNI they are not unless asked for, because the quickest
    instruction adds pairs of products in 16 bits, and those overflow (ONNX Runtime's `session.x64quantprecision`).
    """

    def load(self, path: Path, feeds: Feeds | None = None, inner: Collection[str] = ()) -> OrtGraph:  # noqa: ARG002
        session = self._session(path)
        inputs = _allocate(path, session.get_inputs())
        fed = feed_buffers(path, inputs, feeds)
        inputs = {name: buffer for name, buffer in inputs.items() if name not in fed}
        return OrtGraph(path, session, inputs, fed, _allocate(path, session.get_outputs()))

    def _session(self, path: Path) -> Any:
        ort = ort_library.onnxruntime("ort")
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.x64quantprecision", "1")
        options.log_severity_level = 4  # what goes wrong is raised, and said once
        try:
            return ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=_HARMFUL
            )
        except _refusals() as error:
            raise BackendError(f"{path}: ONNX Runtime {ort.__version__} refuses it: {one_line(error)}") from error


def _refusals() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: a handful of classes without a common base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        RuntimeError,
        *(state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile),
        *(state.NotImplemented, state.NoModel, state.RuntimeException, state.EPFail),
    )


def _allocate(path: Path, arguments: Iterable[Any]) -> dict[str, Buffer]:
    """A zeroed buffer for every input or output of a session."""
    return {name: np.zeros(*kind) for name, kind in _kinds(path, arguments).items()}


def _kinds(path: Path, arguments: Iterable[Any]) -> dict[str, Kind]:
    """Shape and type of every input or output of a session."""
    kinds: dict[str, Kind] = {}
    for argument in arguments:
        if argument.type not in _DTYPES:
            raise BackendError(f"{path}: {argument.name} is of type {argument.type}, which is not supported")
        if not all(isinstance(n, int) for n in argument.shape):
            raise BackendError(f"{path}: {argument.name} has shape {argument.shape}; shapes must be static")
        kinds[argument.name] = Kind(tuple(argument.shape), np.dtype(_DTYPES[argument.type]))
    return kinds


class OrtCudaGraph(GpuGraph):
    """One session on the GPU's stream, and its binding.

    The memory that it computes in is planned by the first run, which is done here and gives back what it took. The next
    one allocates it, and it never moves from then on.
    """

    def __init__(self, path: Path, session: Any, feeds: Feeds, inner: Collection[str]) -> None:
        given, made = _kinds(path, session.get_inputs()), _kinds(path, session.get_outputs())
        super().__init__(path, given, made, feeds, inner)
        self._session, self._options = session, ort_library.run_options("disable_synchronize_execution_providers", "1")
        self._binding = session.io_binding()
        for bind, kinds in ((self._binding.bind_input, given), (self._binding.bind_output, made)):
            for name, (shape, dtype) in kinds.items():
                bind(name, "cuda", 0, dtype.type, shape, self.at[name].address)
        self._run(ort_library.run_options("memory.enable_memory_arena_shrinkage", "gpu:0"))

    def enqueue(self) -> None:
        self._run(self._options)

    def _run(self, options: Any) -> None:
        try:
            self._session.run_with_iobinding(self._binding, options)
        except _refusals() as error:
            raise ort_library.told(error, f"{self.path}: activations", f"{self.path}: failed while it ran") from error


class CudaEngine(GpuBackend):
    """Graphs that run on the GPU as a whole: one with a node that would fall to the CPU is refused."""

    def load(self, path: Path, feeds: Feeds | None = None, inner: Collection[str] = ()) -> OrtCudaGraph:
        with gpu().current():
            return OrtCudaGraph(path, self._session(path), feeds or {}, inner)

    def _session(self, path: Path) -> Any:
        ort = ort_library.onnxruntime_gpu()
        try:
            return ort_library.session(ort, path)
        except _refusals() as error:
            raise ort_library.refusal(ort, path, error) from error
