"""onnxruntime-gpu as far as the runtime calls it, on a simulated GPU: the CPU provider does what the stream comes to.

What it is called, what it says, when it allocates and when it waits are as in 1.31.1, which was watched over a CUDA
runtime that only records.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as real
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as state

from edge_runtime.backends.cuda.driver import call
from edge_runtime.backends.cuda.gpu import gpu
from edge_runtime.backends.cuda.ort_library import PROVIDER
from edge_runtime.onnx_nodes import read_nodes
from tests.edge_runtime.backends import simulated
from tests.edge_runtime.backends.simulated.build import library as loadable

OPTIONS = {"user_compute_stream", "use_tf32", "arena_extend_strategy", "cudnn_conv_algo_search"}
"""Of those that `get_provider_options` lists, the ones that are set."""
FALLBACK = (
    "[ONNXRuntimeError] : 1 : FAIL : This session contains graph nodes that are assigned to the default CPU EP, but "
    "fallback to CPU EP has been explicitly disabled by the user."
)
GROWING = 2
"""Its arena grows in that many runs: as it goes along, then by what it has planned."""


class Library:
    """The module, and what is wrong with it. `without`: operators for which there is no CUDA kernel.

    `refusal` is raised by a new session, `failure` by a run. `sessions`: all that were made.
    """

    def __init__(self, folder: Path, version: str = "1.31.1") -> None:
        self.without: Sequence[str] = ()
        self.refusal: Exception | None = None
        self.failure: Exception | None = None
        self.sessions: list[Session] = []
        self.provider = folder / "capi" / "libonnxruntime_providers_cuda.so"
        self.provider.parent.mkdir()
        self.provider.symlink_to(loadable())
        self.module: Any = ModuleType("onnxruntime")
        self.module.__version__, self.module.__file__ = version, str(folder / "__init__.py")
        self.module.SessionOptions, self.module.RunOptions = real.SessionOptions, real.RunOptions
        self.module.get_available_providers = lambda: ["TensorrtExecutionProvider", PROVIDER, "CPUExecutionProvider"]
        self.module.set_default_logger_severity = lambda severity: None
        self.module.preload_dlls = lambda: print("Failed to load libcurand.so.10")
        self.module.InferenceSession = self._session

    def _session(self, path_or_bytes: str, sess_options: Any, *, providers: Any, **words: Any) -> Any:
        if providers == ["CPUExecutionProvider"]:
            return real.InferenceSession(path_or_bytes, sess_options, providers=providers, **words)
        assert words == {"enable_fallback": 0}, "it would print that it falls back to the CPU, and do so"
        ((name, options),) = providers
        assert name == PROVIDER
        if self.refusal is not None:
            raise self.refusal
        made = Session(self, path_or_bytes, options)
        if made.on_the_cpu and _entry(sess_options.get_session_config_entry, "session.disable_cpu_ep_fallback") == "1":
            raise state.Fail(FALLBACK)
        self.sessions.append(made)
        return made

    def loads(self) -> bool:
        """Whether its provider does: a file that is no library does not."""
        return self.provider.is_symlink()


class Session:
    """`at`: input or output → where it was bound, with its shape and type. `arena`: what it has allocated."""

    def __init__(self, library: Library, path: str, options: Mapping[str, str]) -> None:
        assert set(options) == OPTIONS
        self._library, self._stream, self._runs = library, int(options["user_compute_stream"]), 0
        quiet = real.SessionOptions()
        quiet.log_severity_level = 4
        self._session = real.InferenceSession(path, quiet, providers=["CPUExecutionProvider"])
        self.get_inputs, self.get_outputs = self._session.get_inputs, self._session.get_outputs
        self.on_the_cpu = [n for n in read_nodes(Path(path)).nodes if not library.loads() or n.op in library.without]
        self.at: dict[str, tuple[int, tuple[int, ...], Any]] = {}
        self.arena: list[Any] = []

    def get_provider_graph_assignment_info(self) -> list[Any]:
        nodes = [SimpleNamespace(op_type=node.op, name=node.name) for node in self.on_the_cpu]
        there = SimpleNamespace(ep_name=PROVIDER, get_nodes=lambda: [SimpleNamespace(op_type="Add", name="fine")])
        return [there, SimpleNamespace(ep_name="CPUExecutionProvider", get_nodes=lambda: nodes)]

    def io_binding(self) -> Binding:
        return Binding(self)

    def run_with_iobinding(self, iobinding: Binding, run_options: Any) -> None:
        if self._library.failure is not None:
            raise self._library.failure
        if self._runs < GROWING:
            self.arena.append(gpu().private((64,), np.dtype(np.uint8), "the arena"))
        self._runs += 1
        simulated.enqueue(self._stream, partial(_work, self._session, self.at))
        entry = partial(_entry, run_options.get_run_config_entry)
        if entry("disable_synchronize_execution_providers") != "1":
            call("cuStreamSynchronize", self._stream)
        if entry("memory.enable_memory_arena_shrinkage") == "gpu:0":
            self.arena.clear()


def _entry(get: Callable[[str], str], name: str) -> str:
    try:
        return get(name)
    except RuntimeError:
        return ""


def _work(session: Any, at: Mapping[str, tuple[int, tuple[int, ...], Any]]) -> None:
    given = {argument.name: simulated.memory(*at[argument.name]) for argument in session.get_inputs()}
    for argument, answer in zip(session.get_outputs(), session.run(None, given), strict=True):
        np.copyto(simulated.memory(*at[argument.name]), answer)


class Binding:
    """As ONNX Runtime has it, of memory that the GPU sees."""

    def __init__(self, session: Session) -> None:
        self._at = session.at

    def bind_input(
        self, name: str, device_type: str, device_id: int, element_type: Any, shape: Sequence[int], buffer_ptr: int
    ) -> None:
        assert (device_type, device_id) == ("cuda", 0)
        self._at[name] = (buffer_ptr, tuple(shape), element_type)

    bind_output = bind_input


@pytest.fixture(params=[True, False], ids=["integrated", "card"])
def library(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Library]:
    """onnxruntime-gpu on a machine with a GPU."""
    from tests.edge_runtime.engines.fakes import forget

    forget()
    with simulated.present(integrated=request.param):
        found = Library(tmp_path_factory.mktemp("onnxruntime"))
        monkeypatch.setitem(sys.modules, "onnxruntime", found.module)
        yield found
        found.sessions.clear()
        forget()
