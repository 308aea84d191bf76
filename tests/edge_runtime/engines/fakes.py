"""TensorRT as far as the runtime calls it, on a simulated GPU: engines are ONNX files, and ONNX Runtime runs them."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from edge_runtime.backends.cuda import gpu, kernels
from edge_runtime.engines import api
from tests.edge_runtime.backends import simulated

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
    WORKSPACE, TACTIC_DRAM, DETAILED, JSON, INPUT, OUTPUT, TF32, USER_MANAGED, REQUIRE_USER_ALLOCATION = range(9)


def session(data: bytes) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(
        data, options, providers=["CPUExecutionProvider"], disabled_optimizers=["MatMulAddFusion"]
    )


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

    def set_compute_capability(self, capability: Any, _index: int) -> None:
        self.capability = capability

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag)

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

    def __init__(self, version: str, rtx: bool = False) -> None:
        self.module = module = ModuleType("tensorrt")
        self.capturable = True if rtx else None
        """What a context says of that, None where it is not asked."""
        self.networks: list[Network] = []
        self.configs: list[Config] = []
        self.steps: list[Callable[[], None]] = [lambda: None]
        self.fails = ""
        self.no_context = ""
        """What it says instead of making a context."""
        self.full = ""
        """What it says of an engine for whose weights the GPU has no memory."""
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
            ExecutionContextAllocationStrategy=Named,
            ComputeCapability=SimpleNamespace(SM89="SM89"),
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
            if self.full:
                log.log(Severity.ERROR, self.full)
                return None
            if not found.startswith(HEAD):
                log.log(Severity.ERROR, "Serialization assertion failed")
                return None
            return Engine(found.removeprefix(HEAD), self, log)

        return SimpleNamespace(deserialize_cuda_engine=deserialize)


class Engine:
    def __init__(self, data: bytes, library: TensorRt, log: Any) -> None:
        self._session, self._library, self._log = session(data), library, log
        self._sides = {x.name: (Named.INPUT, x) for x in self._session.get_inputs()}
        self._sides |= {x.name: (Named.OUTPUT, x) for x in self._session.get_outputs()}
        self.num_io_tensors = len(self._sides)
        self.device_memory_size_v2 = 1000

    def get_tensor_name(self, i: int) -> str:
        return list(self._sides)[i]

    def get_tensor_mode(self, name: str) -> Named:
        return self._sides[name][0]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._sides[name][1].shape)

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=_KINDS[self._sides[name][1].type][0])

    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(get_engine_information=lambda _format: self._library.told)

    def create_execution_context(self, strategy: Any) -> Context | None:
        assert strategy is Named.USER_MANAGED
        if self._library.no_context:
            self._log.log(Severity.ERROR, self._library.no_context)
            return None
        made = Context(self._session, self._sides, self.device_memory_size_v2)
        if self._library.capturable is not None:
            made.is_stream_capturable = lambda _stream: self._library.capturable  # type: ignore[attr-defined]
        return made


class Context:
    """Reads and writes only memory that it was given, when the stream gets to it."""

    def __init__(self, session: Any, sides: Mapping[str, tuple[Named, Any]], needs: int) -> None:
        self._session, self._sides, self._needs = session, sides, needs
        self._addresses: dict[str, int] = {}

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= self._needs
        simulated.memory(address, (size,), np.uint8)

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address % 256 == 0
        self._addresses[name] = address
        return name in self._sides

    def execute_async_v3(self, stream: int) -> bool:
        try:
            simulated.enqueue(stream, self._execute)
        except simulated.Refused:
            return False
        return True

    def _execute(self) -> None:
        outputs = [name for name, (side, _) in self._sides.items() if side is Named.OUTPUT]
        given = {name: self._view(name) for name in self._sides if name not in outputs}
        for name, answer in zip(outputs, self._session.run(outputs, given), strict=True):
            np.copyto(self._view(name), answer)

    def _view(self, name: str) -> np.ndarray[Any, Any]:
        side = self._sides[name][1]
        return simulated.memory(self._addresses[name], tuple(side.shape), _KINDS[side.type][1])


class Machine:
    """A simulated GPU with TensorRT on it: `install` puts one there, in the place of the one before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch, self._gpu = monkeypatch, ExitStack()

    def install(self, version: str = "10.3.0", *, rtx: bool = False, **gpu: Any) -> TensorRt:
        """`gpu` is as in `simulated.present`: an Orin where nothing is said. `rtx`: it is TensorRT-RTX."""
        self.remove()
        self._gpu.enter_context(simulated.present(**gpu))
        library = TensorRt(version, rtx)
        self._monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings" if rtx else "tensorrt", library.module)
        return library

    def remove(self) -> None:
        """No GPU is there any more."""
        forget()
        self._gpu.close()
        forget()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    found = Machine(monkeypatch)
    yield found
    found.remove()


def forget() -> None:
    """The next call looks for libraries and GPU again."""
    for cached in (api.load_api, gpu.gpu, kernels.load, kernels._module, kernels._kernel):
        cached.cache_clear()
