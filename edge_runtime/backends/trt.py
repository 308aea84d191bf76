"""TensorRT: runs the engines that `edge compile` built from a bundle's graphs on this machine.

Every input and output is page-locked memory that the GPU sees too, so that the runtime's buffers are the engine's own
and nothing is copied: on a Jetson that is the same memory, on a card it is read across the bus.

Not run on hardware yet: held to fakes of TensorRT and pycuda in the tests.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge_runtime.backends.base import Backend, Buffer, Graph, feed_sources
from edge_runtime.bundle import MANIFEST
from edge_runtime.engines.api import Api, load_api, place_here
from edge_runtime.engines.gpu import Gpu, Shared, gpu
from edge_runtime.engines.key import BuildOptions, EngineKey
from edge_runtime.engines.store import Store
from edge_runtime.errors import BackendError, one_line

_DTYPES: dict[str, type[np.generic]] = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "UINT8": np.uint8,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}


class TrtGraph(Graph):
    """One engine with its context, on a stream of its own.

    `memory`: what it reads and writes itself. `addresses`: where each of its tensors is, another engine's outputs among
    them. `copied`: outputs that another backend keeps → where this engine reads them.
    """

    def __init__(
        self,
        path: Path,
        here: Gpu,
        engine: Any,
        memory: Mapping[str, Shared],
        addresses: Mapping[str, int],
        copied: Mapping[str, Buffer],
    ) -> None:
        own = {name: shared.array for name, shared in memory.items() if name not in copied}
        self.inputs = {name: array for name, array in own.items() if _is_input(engine, name)}
        self.outputs = {name: array for name, array in own.items() if name not in self.inputs}
        self.addresses = addresses
        self._path, self._gpu = path, here
        self._engine, self._memory = engine, memory  # what the context points to lives as long as it
        self._copied = [(memory[name].array, source) for name, source in copied.items()]
        self._stream = here.stream()
        with here.current():
            self._context = engine.create_execution_context()
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise BackendError(f"{path}: TensorRT does not take the memory of {name}")

    def run(self) -> None:
        for target, source in self._copied:
            np.copyto(target, source)
        try:
            with self._gpu.current():
                if not self._context.execute_async_v3(self._stream.handle):
                    raise BackendError(f"{self._path}: failed while it ran: TensorRT did not take it")
                self._stream.synchronize()
        except self._gpu.error as error:
            raise BackendError(f"{self._path}: failed while it ran: {one_line(error)}") from error


class Engine(Backend):
    """Loads the engine of a bundle's graph from its store; what does not match this machine is named, never loaded."""

    backend = "trt"

    def load(self, path: Path, feeds: Mapping[str, tuple[Graph, str]] | None = None) -> TrtGraph:
        api = load_api(self.backend)
        place = place_here(api)
        seal, name = _graph_of(path)
        store = Store(path.parent)
        found = store.find(EngineKey(place, seal, name, BuildOptions()), any_options=True)
        if found.info is None:
            command = f"edge compile {path.parent} --backend {self.backend.replace('_', '-')}"
            raise BackendError(f"{found.why or f'{path}: there is no engine for {place}'}; run `{command}`")
        return self.open(store.path(found.info), path, feeds)

    def open(self, engine: Path, path: Path, feeds: Mapping[str, tuple[Graph, str]] | None = None) -> TrtGraph:
        """Load the engine in the file `engine`, made of the graph at `path`, which messages name."""
        api, here = load_api(self.backend), gpu()
        loaded = _deserialized(api, here, engine)
        empty = {name: _empty(path, loaded, name) for name in _tensors(loaded)}
        feeds = feeds or {}
        sources = feed_sources(path, {name: e for name, e in empty.items() if _is_input(loaded, name)}, feeds)
        theirs = {
            name: graph.addresses[output] for name, (graph, output) in feeds.items() if isinstance(graph, TrtGraph)
        }
        memory = {name: here.shared(e.shape, e.dtype.type) for name, e in empty.items() if name not in theirs}
        addresses = theirs | {name: shared.address for name, shared in memory.items()}
        copied = {name: source for name, source in sources.items() if name not in theirs}
        return TrtGraph(path, here, loaded, memory, addresses, copied)


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


def _deserialized(api: Api, here: Gpu, path: Path) -> Any:
    log = api.log()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, here.current():
        engine = api.trt.Runtime(log).deserialize_cuda_engine(data)
    if engine is None:
        raise BackendError(f"{path}: {api.name} does not load it: {api.why(log)}; run edge compile with --rebuild")
    return engine


def _tensors(engine: Any) -> list[str]:
    """Names of its inputs and outputs."""
    return [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]


def _is_input(engine: Any, name: str) -> bool:
    return str(engine.get_tensor_mode(name).name) == "INPUT"


def _empty(path: Path, engine: Any, name: str) -> Buffer:
    """An array without memory of its own that has the shape and type of a tensor of `engine`."""
    kind, shape = str(engine.get_tensor_dtype(name).name), tuple(engine.get_tensor_shape(name))
    if kind not in _DTYPES:
        raise BackendError(f"{path}: {name} is of type {kind}, which is not supported")
    if any(n < 0 for n in shape):
        raise BackendError(f"{path}: {name} has shape {list(shape)}; shapes must be static")
    return np.broadcast_to(np.zeros((), _DTYPES[kind]), shape)
