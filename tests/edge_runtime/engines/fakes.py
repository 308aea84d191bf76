"""TensorRT and pycuda, as far as the runtime calls them: engines are ONNX files again, and ONNX Runtime runs them."""

from __future__ import annotations

import ctypes
import enum
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from edge_runtime.engines import api, gpu

HEAD = b"an engine of "
STRANGE = ("Levitate", "Bernoulli")
"""Operators that this TensorRT has not."""
_KINDS = {
    "tensor(float)": ("FLOAT", np.float32),
    "tensor(uint8)": ("UINT8", np.uint8),
    "tensor(int8)": ("INT8", np.int8),
    "tensor(bool)": ("BOOL", np.bool_),
    "tensor(int64)": ("INT64", np.int64),
    "tensor(double)": ("DOUBLE", np.float64),
}


class Severity(enum.Enum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    Severity = Severity


class IProgressMonitor:
    pass


class Flag(enum.IntEnum):
    STRONGLY_TYPED = 1


class Named(enum.Enum):
    WORKSPACE, TACTIC_DRAM, DETAILED, JSON, INPUT, OUTPUT, TF32 = range(7)


def session(data: bytes) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


class Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.model = b""
        self.inputs: list[Any] = []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, i: int) -> Any:
        found = self.inputs[i]
        return SimpleNamespace(name=found.name, shape=tuple(n if isinstance(n, int) else -1 for n in found.shape))


class OnnxParser:
    def __init__(self, network: Network, log: Any) -> None:
        self._network, self._errors = network, list[Any]()
        self._log = log

    def supports_operator(self, op: str) -> bool:
        return op not in STRANGE

    def parse_from_file(self, path: str) -> bool:
        data = Path(path).read_bytes()
        try:
            self._network.inputs = session(data).get_inputs()
        except Exception as error:  # noqa: BLE001 whatever ONNX Runtime raises is what this parser refuses
            said = f"Invalid Node - n\nIn parse at /_src/parser.cpp:12\n{error}"
            self._errors.append(SimpleNamespace(node_operator=lambda: "Op", node_name=lambda: "n", desc=lambda: said))
            return False
        self._network.model = data
        self._log.log(Severity.WARNING, "Make sure input tokens has Int64 binding.")
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, i: int) -> Any:
        return self._errors[i]


class Config:
    def __init__(self) -> None:
        self.limits: dict[Any, int] = {}
        self.caches: list[bytes] = []
        self.flags = {Named.TF32}
        self.progress_monitor: Any = None

    def clear_flag(self, flag: Any) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self.limits[pool] = size

    def create_timing_cache(self, data: bytes) -> Any:
        self.caches.append(data)
        return SimpleNamespace(data=data, serialize=lambda: b"timings " + data[:8])

    def set_timing_cache(self, cache: Any, _ignore_mismatch: bool) -> bool:
        return not cache.data.startswith(b"other")


class TensorRt:
    """One library: what was asked of it is in `networks` and `configs`; `steps` are called while an engine is built.

    `wrong`: model → what its engine computes instead.
    """

    def __init__(self, version: str) -> None:
        self.module = module = ModuleType("tensorrt")
        self.networks: list[Network] = []
        self.configs: list[Config] = []
        self.steps: list[Callable[[], None]] = [lambda: None]
        self.fails = ""
        self.wrong: dict[bytes, bytes] = {}
        self.told = '{"Layers": ["names", "alone"]}'
        flags = SimpleNamespace(**({"STRONGLY_TYPED": Flag.STRONGLY_TYPED} if version.startswith("10.") else {}))
        module.__dict__.update(
            __version__=version,
            ILogger=ILogger,
            IProgressMonitor=IProgressMonitor,
            NetworkDefinitionCreationFlag=flags,
            MemoryPoolType=Named,
            BuilderFlag=Named,
            ProfilingVerbosity=Named,
            LayerInformationFormat=Named,
            OnnxParser=OnnxParser,
            Builder=self._builder,
            Runtime=self._runtime,
        )

    def _builder(self, log: Any) -> Any:
        def network(flags: int) -> Network:
            self.networks.append(Network(flags))
            return self.networks[-1]

        def config() -> Config:
            self.configs.append(Config())
            return self.configs[-1]

        def build(network: Network, config: Config) -> bytes | None:
            if self.fails:
                log.log(Severity.ERROR, self.fails)
                return None
            watch = config.progress_monitor
            watch.phase_start("Building", None, len(self.steps))
            for i, step in enumerate(self.steps):
                step()
                if not watch.step_complete("Building", i):
                    log.log(Severity.ERROR, "Build canceled by user")
                    return None
            watch.phase_finish("Building")
            return HEAD + self.wrong.get(network.model, network.model)

        return SimpleNamespace(create_network=network, create_builder_config=config, build_serialized_network=build)

    def _runtime(self, log: Any) -> Any:
        def deserialize(data: Any) -> Engine | None:
            found = bytes(data)
            if not found.startswith(HEAD):
                log.log(Severity.ERROR, "Serialization assertion failed")
                return None
            return Engine(found.removeprefix(HEAD), self.told)

        return SimpleNamespace(deserialize_cuda_engine=deserialize)


class Engine:
    def __init__(self, data: bytes, told: str) -> None:
        self._session, self._told = session(data), told
        self._sides = {x.name: (Named.INPUT, x) for x in self._session.get_inputs()}
        self._sides |= {x.name: (Named.OUTPUT, x) for x in self._session.get_outputs()}
        self.num_io_tensors = len(self._sides)

    def get_tensor_name(self, i: int) -> str:
        return list(self._sides)[i]

    def get_tensor_mode(self, name: str) -> Named:
        return self._sides[name][0]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._sides[name][1].shape)

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=_KINDS[self._sides[name][1].type][0])

    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(get_engine_information=lambda _format: self._told)

    def create_execution_context(self) -> Any:
        addresses: dict[str, int] = {}

        def bind(name: str, address: int) -> bool:
            addresses[name] = address
            return True

        def view(name: str) -> np.ndarray[Any, Any]:
            side = self._sides[name][1]
            dtype, shape = np.dtype(_KINDS[side.type][1]), tuple(side.shape)
            size = max(1, int(np.prod(shape))) * dtype.itemsize
            return np.frombuffer((ctypes.c_char * size).from_address(addresses[name]), dtype).reshape(shape)

        def execute(_stream: int) -> bool:
            if not Driver.current:
                return False
            outputs = [name for name, (side, _) in self._sides.items() if side is Named.OUTPUT]
            given = {name: view(name) for name in self._sides if name not in outputs}
            for name, answer in zip(outputs, self._session.run(outputs, given), strict=True):
                np.copyto(view(name), answer)
            return True

        return SimpleNamespace(set_tensor_address=bind, execute_async_v3=execute)


class Allocation:
    """Page-locked memory, which an array made of it has as its base."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self._memory = np.zeros(shape, dtype)
        self.__array_interface__ = self._memory.__array_interface__

    def get_device_pointer(self) -> int:
        return self._memory.ctypes.data


class DriverError(Exception):
    pass


class Driver(ModuleType):
    """pycuda.driver of a machine with one Orin; `current` counts how often its context was pushed."""

    current = 0
    Error = DriverError
    host_alloc_flags = SimpleNamespace(DEVICEMAP=2)

    def __init__(self) -> None:
        super().__init__("pycuda.driver")
        self.missing = False
        self.broken = False
        self.capability = (8, 7)
        Driver.current = 0
        self.Context = SimpleNamespace(pop=lambda: self._push(-1))

    def _push(self, by: int) -> None:
        Driver.current += by

    def init(self) -> None:
        if self.missing:
            raise DriverError("cuInit failed: no CUDA-capable device is detected")

    def Device(self, _number: int) -> Any:
        context = SimpleNamespace(push=lambda: self._push(1))
        return SimpleNamespace(
            name=lambda: "Orin", compute_capability=lambda: self.capability, retain_primary_context=lambda: context
        )

    def pagelocked_zeros(self, shape: tuple[int, ...], dtype: Any, mem_flags: int = 0) -> np.ndarray[Any, Any]:
        assert Driver.current
        assert mem_flags == self.host_alloc_flags.DEVICEMAP
        return np.asarray(Allocation(shape, dtype))

    def Stream(self) -> Any:
        def synchronize() -> None:
            if self.broken:
                raise DriverError("cuStreamSynchronize failed:\nan illegal memory access was encountered")

        return SimpleNamespace(handle=7, synchronize=synchronize)


def install(monkeypatch: pytest.MonkeyPatch, version: str = "10.3.0") -> tuple[TensorRt, Driver]:
    """Put both in the place of the real ones."""
    library, driver = TensorRt(version), Driver()
    package = ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    for name, module in (("tensorrt", library.module), ("pycuda", package), ("pycuda.driver", driver)):
        monkeypatch.setitem(sys.modules, name, module)
    forget()
    return library, driver


def forget() -> None:
    """The next call looks for libraries and GPU again."""
    for cached in (api.load_api, gpu.gpu):
        cached.cache_clear()
