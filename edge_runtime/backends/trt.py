"""TensorRT: runs the engines that `edge compile` built from a bundle's graphs on this machine.

Not run on hardware yet: held to a fake of TensorRT over a simulated driver in the tests.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge_runtime import plugins
from edge_runtime.backends.base import Feeds
from edge_runtime.backends.cuda.backend import GpuBackend
from edge_runtime.backends.cuda.gpu import gpu
from edge_runtime.backends.cuda.graph import GpuGraph
from edge_runtime.backends.program.tensor import Kind, Tensor
from edge_runtime.bundle import MANIFEST
from edge_runtime.engines.api import Api, load_api, place_here
from edge_runtime.engines.key import BuildOptions, EngineKey
from edge_runtime.engines.store import Store
from edge_runtime.errors import BackendError

_DTYPES: dict[str, type[np.generic]] = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "UINT8": np.uint8,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}


ALIGNED = 256
"""Bytes, of memory that TensorRT is given (NvInferRuntime.h, `setTensorAddress`); the driver gives no other."""


class TrtGraph(GpuGraph):
    """One engine with its context, in memory that is allocated once: tensors, weights, and activations."""

    def __init__(self, path: Path, api: Api, engine: Any, feeds: Feeds, inner: Collection[str]) -> None:
        given, made = dict[str, Kind](), dict[str, Kind]()
        for name in _tensors(engine):
            (given if engine.get_tensor_mode(name).name == "INPUT" else made)[name] = _kind(path, engine, name)
        super().__init__(path, given, made, feeds, inner)
        self._api, self._engine = api, engine
        self._activations = gpu().private((engine.device_memory_size_v2,), np.dtype(np.uint8), f"{path}: activations")
        self._context = _context(path, api, engine, self._activations)
        for name, tensor in self.at.items():
            if tensor.address % ALIGNED or not self._context.set_tensor_address(name, tensor.address):
                raise BackendError(f"{path}: {api.name} does not take the memory of {name}")

    def enqueue(self) -> None:
        log = self._api.log()
        if not self._context.execute_async_v3(gpu().stream):
            raise BackendError(f"{self.path}: failed while it ran: {self._api.why(log)}")


class Engine(GpuBackend):
    """Loads the engine of a bundle's graph from its store; what does not match this machine is named, never loaded."""

    backend = "trt"

    def load(self, path: Path, feeds: Feeds | None = None, inner: Collection[str] = ()) -> TrtGraph:
        api = load_api(self.backend)
        place = place_here(api)
        seal, name = _graph_of(path)
        store = Store(path.parent)
        found = store.find(EngineKey(place, seal, name, BuildOptions()), any_options=True)
        if found.info is None:
            command = f"edge compile {path.parent} --backend {plugins.spelt(self.backend)}"
            raise BackendError(f"{found.why or f'{path}: there is no engine for {place}'}; run `{command}`")
        return self.open(store.path(found.info), path, feeds, inner)

    def open(self, engine: Path, path: Path, feeds: Feeds | None = None, inner: Collection[str] = ()) -> TrtGraph:
        """Load the engine in the file `engine`, made of the graph at `path`, which messages name."""
        api = load_api(self.backend)
        with gpu().current():
            return TrtGraph(path, api, _deserialized(api, engine), feeds or {}, inner)


def _graph_of(path: Path) -> tuple[str, str]:
    """Seal of the bundle that a graph's file is in, and the graph's name."""

    class Head(msgspec.Struct):
        seal: str
        graphs: dict[str, str]

    manifest = path.parent / MANIFEST
    try:
        head = msgspec.json.decode(manifest.read_bytes(), type=Head)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BackendError(f"{manifest}: cannot be read ({error}); engines are made of a bundle's graphs") from error
    names = [name for name, file in head.graphs.items() if file == path.name]
    if not names:
        raise BackendError(f"{path}: is no graph of its bundle; engines are made of a bundle's graphs")
    return head.seal, names[0]


def _deserialized(api: Api, path: Path) -> Any:
    log = api.log()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        engine = api.trt.Runtime(log).deserialize_cuda_engine(data)
    if engine is None:
        why = api.why(log)
        if api.no_memory(why):
            raise BackendError(gpu().lacking(f"{path}: weights", path.stat().st_size))
        raise BackendError(f"{path}: {api.name} does not load it: {why}; run edge compile with --rebuild")
    return engine


def _context(path: Path, api: Api, engine: Any, activations: Tensor) -> Any:
    """What runs the engine, in memory that is given to it."""
    log = api.log()
    context = engine.create_execution_context(api.trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    if context is None:
        why = api.why(log)
        said = f"{path}: {api.name} cannot run it: {why}"
        raise BackendError(gpu().lacking(str(path)) if api.no_memory(why) else said)
    context.set_device_memory(activations.address, activations.nbytes)
    if not getattr(context, "is_stream_capturable", lambda _: True)(gpu().stream):  # TensorRT-RTX alone asks
        raise BackendError(f"{path}: {api.name} cannot run it in a CUDA graph; run edge compile with --rebuild")
    return context


def _tensors(engine: Any) -> Iterator[str]:
    """Names of its inputs and outputs."""
    return (engine.get_tensor_name(i) for i in range(engine.num_io_tensors))


def _kind(path: Path, engine: Any, name: str) -> Kind:
    kind, shape = str(engine.get_tensor_dtype(name).name), tuple(engine.get_tensor_shape(name))
    if kind not in _DTYPES:
        raise BackendError(f"{path}: {name} is of type {kind}, which is not supported")
    if any(n < 0 for n in shape):
        raise BackendError(f"{path}: {name} has shape {list(shape)}; shapes must be static")
    return Kind(shape, np.dtype(_DTYPES[kind]))
