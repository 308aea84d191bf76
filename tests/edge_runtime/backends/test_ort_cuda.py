"""ONNX Runtime's CUDA provider under the backend contract, on a simulated GPU."""

from __future__ import annotations

import gc
import inspect
import re
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import onnxruntime as real
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as state

from edge_runtime import plugins
from edge_runtime.backends import ort
from edge_runtime.backends.cuda import gpu, kernels
from edge_runtime.backends.ort_cuda import Engine
from edge_runtime.backends.program.steps import Run
from edge_runtime.errors import BackendError
from tests.edge_runtime.backends import fake_ort_cuda, simulated
from tests.edge_runtime.backends.contract import FLOAT, BackendContract, node, write
from tests.edge_runtime.backends.fake_ort_cuda import Library
from tests.edge_runtime.backends.program_contract import ProgramContract

if simulated.missing():
    pytest.skip(simulated.missing(), allow_module_level=True)

library = fake_ort_cuda.library

SOURCE = "/onnxruntime_src/onnxruntime/core"
ARENA = (
    f"{SOURCE}/framework/bfc_arena.cc:360 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, "
    "onnxruntime::Stream*) Failed to allocate memory for requested buffer of size 3145729\n"
)
CUDNN = (
    "Error in execution: Non-zero status code returned while running Conv node. Name:'patches' Status Message: "
    f"{SOURCE}/providers/cuda/cuda_kernel.h:296 static cudnnContext* onnxruntime::cuda::CudaKernel::RequireCudnnHandle("
    "cudnnHandle_t) [ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : cuDNN is unavailable\n"
)
DRIVER = (
    f"{SOURCE}/providers/cuda/cuda_call.cc:154 std::conditional_t<THRW, void, onnxruntime::common::Status> "
    "onnxruntime::CudaCall(ERRTYPE, const char*, const char*, SUCCTYPE, const char*, const char*, int) [with ERRTYPE = "
    "cudaError; bool THRW = true; SUCCTYPE = cudaError; std::conditional_t<THRW, void, common::Status> = void] CUDA "
    "failure 35: CUDA driver version is insufficient for CUDA runtime version ; GPU=-1 ; hostname=robot\n"
)
NOWHERE = (
    f"[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: {SOURCE}/optimizer/transformer_memcpy.cc:253 "
    "bool onnxruntime::TransformerMemcpyImpl::IsNodeCompatibleWithProvider(const onnxruntime::Node&) const "
    "!node_provider_type.empty() was false. Provider type for QuantizeLinear node with name 'mul_5.bfloat16' is not "
    "set.\n"
)
"""What 1.31.1 says, without a part of it that repeats itself."""


@pytest.mark.usefixtures("library")
class TestOrtCuda(BackendContract, ProgramContract):
    engine = Engine

    def test_a_type_that_no_buffer_has(self, tmp_path: Path) -> None:
        path = write(tmp_path / "d.onnx", [node("Neg", "x", out="y")], {"x": (11, [3])}, {"y": (11, [3])})
        self.refused(path, r"x is of type tensor\(double\), which is not supported")

    def test_a_graph_on_the_cpu_feeds_none(self, double: Path) -> None:
        first = ort.Engine().load(double)
        self.refused(double, "input x is fed by a graph that is not on the GPU", {"x": (first, "twice")})

    def test_the_session_has_the_memory_itself(self, double: Path, library: Library) -> None:
        backend = Engine()
        first = backend.load(double)
        second = backend.load(double, {"x": (first, "twice")})
        one, other = library.sessions
        assert other.at["x"][0] == one.at["twice"][0]
        for graph, session in ((first, one), (second, other)):
            assert {name: bound[0] for name, bound in session.at.items()} == {n: t.address for n, t in graph.at.items()}
        assert (first.uploads == ()) == gpu.gpu().integrated

    def test_a_captured_session_is_not_asked_again(self, double: Path, library: Library) -> None:
        backend = Engine()
        graph = backend.load(double)
        program = backend.program([Run("double", graph)])
        library.failure = RuntimeError("it was asked")
        graph.inputs["x"][:] = 3.0
        program.run(times=2)
        assert (graph.outputs["twice"] == 12.0).all()

    def test_a_node_without_a_cuda_kernel_is_named(self, tmp_path: Path, library: Library) -> None:
        library.without = ("Neg", "Abs")
        nodes = [node("Neg", "x", out="n", name="node_neg"), node("Abs", "n", out="y", name="node_abs")]
        path = write(tmp_path / "g.onnx", nodes, {"x": (FLOAT, [3])}, {"y": (FLOAT, [3])})
        self.refused(path, r"ONNX Runtime 1\.31\.1 has no CUDA kernel for Neg \(node_neg\), Abs \(node_abs\)$")

    def test_a_node_without_a_kernel_for_its_type_is_named(self, double: Path, library: Library) -> None:
        library.refusal = state.Fail(NOWHERE)
        self.refused(double, r"ONNX Runtime 1\.31\.1 has no kernel for the type of QuantizeLinear \(mul_5\.bfloat16\)$")

    def test_a_provider_that_does_not_load_is_no_reason_to_run_on_the_cpu(self, double: Path, library: Library) -> None:
        library.provider.unlink()
        library.provider.write_text("no library")
        words = r"^backend ort-cuda: onnxruntime-gpu 1\.31\.1 cannot load its CUDA provider: .*\.so: .*; pip install '"
        assert refusal(Engine().load, double, words=words)

    def test_memory_that_weights_lack_is_named(self, double: Path, library: Library) -> None:
        library.refusal = state.Fail(f"[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: {ARENA}")
        self.refused(double, r"double\.onnx: weights: the GPU has no 4 MiB left for it: 6\d of 64 MiB are free")

    def test_memory_that_a_run_lacks_is_named_when_it_is_loaded(self, double: Path, library: Library) -> None:
        library.failure = RuntimeError(f"Error in execution: {ARENA}")
        self.refused(double, r"double\.onnx: activations: the GPU has no 4 MiB left for it: 6\d of 64 MiB are free")

    def test_what_the_first_run_took_is_given_back(self, double: Path, library: Library) -> None:
        Engine().load(double)
        (session,) = library.sessions
        assert session.arena == []

    def test_what_a_run_lacks_is_one_line_without_places_in_sources(self, double: Path, library: Library) -> None:
        backend = Engine()
        graph = backend.load(double)
        library.failure = RuntimeError(CUDNN)
        for run in (graph.run, lambda: backend.program([Run("double", graph)])):
            told = refusal(run, words=r"double\.onnx: failed while it ran: .*Conv node.*'patches'.*cuDNN is unav")
            assert "onnxruntime_src" not in told

    def test_a_driver_that_is_too_old_is_said_so(self, double: Path, library: Library) -> None:
        library.refusal = RuntimeError(DRIVER)
        self.refused(double, r"refuses it: CUDA failure 35: CUDA driver version is insufficient for CUDA runtime")

    def test_a_gpu_that_fails_is_one_line_too(self, double: Path) -> None:
        graph = Engine().load(double)
        simulated.fail("cuEventSynchronize", 700)
        assert refusal(graph.run, words=r"double\.onnx: failed while it ran: .*ILLEGAL_ADDRESS")

    def test_everything_is_given_back(self, double: Path, library: Library) -> None:
        with gpu.gpu().current():
            kernels.load()
        before, backend = simulated.used_bytes(), Engine()
        first = backend.load(double)
        program = backend.program([Run("first", first), Run("second", backend.load(double, {"x": (first, "y")}))])
        program.run()
        assert simulated.used_bytes() > before
        del first, program
        library.sessions.clear()
        gc.collect()
        assert simulated.used_bytes() == before


def refusal(do: Callable[..., Any], *arguments: Any, words: str) -> str:
    with pytest.raises(BackendError, match=words) as caught:
        do(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestLibrary:
    """Nothing of these needs a graph: it is not even looked for."""

    def test_one_without_the_provider(self, library: Library) -> None:
        library.module.get_available_providers = lambda: ["AzureExecutionProvider", "CPUExecutionProvider"]
        words = (
            r"^backend ort-cuda: onnxruntime here has no CUDA provider: pip uninstall onnxruntime; then pip install '"
        )
        assert refusal(Engine().load, Path("g.onnx"), words=words)

    def test_one_that_the_other_was_installed_over(self, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
        """Removing that takes the folder with it, and pip would take this one for whole."""
        library.module.get_available_providers = lambda: ["CPUExecutionProvider"]
        monkeypatch.setattr(metadata, "distributions", lambda *, name: [name])
        words = r"pip uninstall onnxruntime; then pip install --force-reinstall --no-deps onnxruntime-gpu$"
        assert refusal(Engine().load, Path("g.onnx"), words=words)

    def test_one_that_is_not_installed(self, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        assert refusal(Engine().load, Path("g.onnx"), words=r"^backend ort-cuda: .*; pip install 'onnxruntime-gpu\[")

    @pytest.mark.parametrize(
        ("there", "remedy"),
        [
            ([], "'onnxruntime-gpu[cuda,cudnn]'"),
            (["onnxruntime"], "'onnxruntime-gpu[cuda,cudnn]'"),
            (["onnxruntime", "onnxruntime-gpu"], "--force-reinstall --no-deps onnxruntime-gpu"),
        ],
    )
    def test_one_of_which_a_folder_is_left(
        self, library: Library, monkeypatch: pytest.MonkeyPatch, there: list[str], remedy: str
    ) -> None:
        left = ModuleType("onnxruntime")
        left.__path__ = ["/site/onnxruntime"]
        monkeypatch.setitem(sys.modules, "onnxruntime", left)
        monkeypatch.setattr(metadata, "distributions", lambda *, name: [one for one in there if one == name])
        said = f"backend ort-cuda: /site/onnxruntime is all that is left of onnxruntime; pip install {remedy}"
        assert refusal(Engine().load, Path("g.onnx"), words=f"^{re.escape(said)}$")

    @pytest.mark.parametrize("version", ["1.30.2", "1.9.0", "0.99"])
    def test_one_that_is_too_old(self, library: Library, version: str) -> None:
        library.module.__version__ = version
        words = rf"^backend ort-cuda: onnxruntime-gpu {version} is older than 1\.31; pip install .* -U$"
        assert refusal(Engine().load, Path("g.onnx"), words=words)

    def test_what_it_says_beside_is_not_heard(
        self, library: Library, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        path = write(tmp_path / "g.onnx", [node("Neg", "x", out="y")], {"x": (FLOAT, [3])}, {"y": (FLOAT, [3])})
        Engine().load(path)
        assert capfd.readouterr() == ("", "")


def test_a_machine_without_a_gpu() -> None:
    gpu.gpu.cache_clear()
    assert refusal(Engine().load, Path("g.onnx"), words="^no GPU can be reached from here: ")


def test_the_library_s_stand_in_is_called_as_the_library_is() -> None:
    ours, theirs = fake_ort_cuda.Binding, real.IOBinding
    for name in ("bind_input", "bind_output"):
        assert list(inspect.signature(getattr(ours, name)).parameters) == list(
            inspect.signature(getattr(theirs, name)).parameters
        )
    calls = inspect.signature(real.InferenceSession.run_with_iobinding).parameters
    assert list(calls) == list(inspect.signature(fake_ort_cuda.Session.run_with_iobinding).parameters)
    assert {"path_or_bytes", "sess_options", "providers"} <= set(inspect.signature(real.InferenceSession).parameters)
    assert all(callable(getattr(real, n)) for n in ("get_available_providers", "set_default_logger_severity"))


def test_it_is_a_plug_in() -> None:
    assert "ort_cuda" in plugins.names("edge_runtime.backends")
    assert plugins.load("edge_runtime.backends", "ort-cuda").Engine is Engine
