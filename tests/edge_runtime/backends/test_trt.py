"""TensorRT under the backend contract, on a simulated GPU: its engines are run by ONNX Runtime there."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Collection
from pathlib import Path

import pytest

from edge_runtime import plugins
from edge_runtime.backends import ort, trt
from edge_runtime.backends.base import Feeds
from edge_runtime.backends.cuda import gpu, kernels
from edge_runtime.backends.program.steps import Run
from edge_runtime.bundle import MANIFEST
from edge_runtime.engines.api import load_api, place_here
from edge_runtime.engines.build import build
from edge_runtime.engines.key import BuildOptions, EngineKey
from edge_runtime.engines.store import Store
from edge_runtime.errors import BackendError, BundleError
from edge_runtime.onnx_nodes import read_nodes
from tests.edge_runtime.backends import simulated
from tests.edge_runtime.backends.contract import FLOAT, BackendContract, node, write
from tests.edge_runtime.backends.program_contract import ProgramContract
from tests.edge_runtime.engines.fakes import Context, Machine, Named, TensorRt


class Compiling(trt.Engine):
    """Builds the engine of a graph when it is first asked for; its folder becomes a bundle."""

    arch = ""

    def load(self, path: Path, feeds: Feeds | None = None, inner: Collection[str] = ()) -> trt.TrtGraph:
        graphs = {file.stem: file.name for file in path.parent.glob("*.onnx")}
        (path.parent / MANIFEST).write_text(json.dumps({"seal": "s", "graphs": graphs}))
        api, store = load_api(self.backend), Store(path.parent)
        key = EngineKey(place_here(api), "s", path.stem, BuildOptions())
        try:
            nodes = read_nodes(path)
        except BundleError as error:
            raise BackendError(str(error)) from error
        with store.building():
            timing = store.folder / "timing"
            made = build(api, path, nodes, key.options, arch=self.arch, timing=timing, tell=lambda part: None)
            store.keep(store.stage(key, made.engine, seconds=made.seconds), held=False)
        return super().load(path, feeds, inner)


class CompilingRtx(Compiling):
    backend, arch = "trt_rtx", "sm89"


@pytest.fixture(params=[("10.3.0", True), ("11.0", False)], ids=["10.3, integrated", "11.0, card"])
def library(machine: Machine, request: pytest.FixtureRequest) -> TensorRt:
    version, integrated = request.param
    return machine.install(version, integrated=integrated)


@pytest.mark.usefixtures("library")
class TestTrt(BackendContract, ProgramContract):
    engine = Compiling

    def test_a_type_that_no_buffer_has(self, tmp_path: Path) -> None:
        path = write(tmp_path / "d.onnx", [node("Neg", "x", out="y")], {"x": (11, [3])}, {"y": (11, [3])})
        self.refused(path, "x is of type DOUBLE, which is not supported")

    def test_a_run_that_fails_is_one_line_too(self, double: Path) -> None:
        graph = Compiling().load(double)
        simulated.fail("cuEventSynchronize", 700)
        with pytest.raises(BackendError, match=r"double\.onnx: failed while it ran: .*ILLEGAL_ADDRESS") as caught:
            graph.run()
        assert "\n" not in str(caught.value)

    def test_what_the_library_does_not_take_is_said_of_the_graph(self, double: Path) -> None:
        graph = Compiling().load(double)
        graph._context.execute_async_v3 = lambda _stream: False
        with pytest.raises(BackendError, match=r"double\.onnx: failed while it ran: it does not say why"):
            graph.run()

    def test_a_graph_of_another_backend_feeds_none(self, double: Path) -> None:
        first = ort.Engine().load(double)
        with pytest.raises(BackendError, match=r"double\.onnx: input x is fed by a graph that is not on the GPU"):
            Compiling().load(double, {"x": (first, "twice")})

    def test_keys_and_values_stay_where_the_graph_put_them(self, double: Path) -> None:
        backend = Compiling()
        first = backend.load(double)
        second = backend.load(double, {"x": (first, "y")})
        assert second.at["x"] is first.at["y"]
        assert first.at["y"].array is None


@pytest.fixture
def rtx(machine: Machine) -> TensorRt:
    return machine.install("1.7.1", rtx=True, integrated=False, capability=(8, 9), name="GeForce RTX 4090")


@pytest.mark.usefixtures("rtx")
class TestTrtRtx(BackendContract, ProgramContract):
    engine = CompilingRtx

    def test_an_engine_that_cannot_be_captured_is_refused_when_it_is_loaded(self, double: Path, rtx: TensorRt) -> None:
        rtx.capturable = False
        with pytest.raises(
            BackendError, match=r"double\.onnx: TensorRT-RTX 1.7.1 cannot run it in a CUDA graph; run edge"
        ):
            CompilingRtx().load(double)

    def test_it_is_built_to_allocate_nothing_by_itself_and_on_one_stream(self, double: Path, rtx: TensorRt) -> None:
        CompilingRtx().load(double)
        (config,) = rtx.configs
        assert config.flags == {Named.REQUIRE_USER_ALLOCATION}
        assert config.max_aux_streams == 0


class TestMemory:
    def test_a_jetson_reads_in_place_what_the_cpu_writes(self, machine: Machine, double: Path) -> None:
        machine.install(integrated=True)
        graph = Compiling().load(double)
        assert graph.uploads == ()
        assert graph.at["x"].array is graph.inputs["x"]

    def test_a_card_has_a_copy_of_it(self, machine: Machine, double: Path) -> None:
        machine.install(integrated=False, capability=(8, 9), name="GeForce RTX 4090")
        graph = Compiling().load(double)
        (upload,) = graph.uploads
        assert upload.source.array is graph.inputs["x"]
        assert upload.target.array is None
        assert graph.at["x"] is upload.target

    def test_what_lacked_memory_is_named_with_how_much_it_asked_for(self, machine: Machine, double: Path) -> None:
        machine.install(memory_bytes=1500)
        asked = r"double\.onnx: activations: the GPU has no 1 MiB left for it: 0 of 0 MiB are free"
        first = Compiling().load(double)
        with pytest.raises(BackendError, match=asked):
            Compiling().load(double, {"x": (first, "y")})

    def test_weights_that_do_not_fit_are_named(self, machine: Machine, double: Path) -> None:
        library = machine.install()
        Compiling().load(double)
        library.full = "createInferRuntime: Error Code 2: OutOfMemory (Requested size was 24 bytes.)"
        with pytest.raises(BackendError, match=r"double-trt-.*\.engine: weights: the GPU has no 1 MiB left for it: 6"):
            trt.Engine().load(double)

    @pytest.mark.parametrize(
        ("said", "wanted"),
        [
            ("Error Code 2: OutOfMemory (Requested size was 9 bytes.)", "the GPU has no memory left for it: 6"),
            ("Error Code 3: API Usage Error", "TensorRT 10.3.0 cannot run it: Error Code 3: API Usage Error"),
        ],
    )
    def test_a_context_that_is_not_made_says_why(self, machine: Machine, double: Path, said: str, wanted: str) -> None:
        library = machine.install()
        library.no_context = said
        with pytest.raises(BackendError, match=rf"double\.onnx: {re.escape(wanted)}"):
            Compiling().load(double)

    def test_memory_that_the_library_does_not_take_is_named(
        self, machine: Machine, double: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        machine.install()
        monkeypatch.setattr(Context, "set_tensor_address", lambda _self, name, _address: name != "y")
        with pytest.raises(BackendError, match=r"double\.onnx: TensorRT 10.3.0 does not take the memory of y$"):
            Compiling().load(double)

    def test_everything_is_given_back(self, machine: Machine, double: Path) -> None:
        machine.install()
        with gpu.gpu().current():
            kernels.load()
        before = simulated.used_bytes()
        backend = Compiling()
        first = backend.load(double)
        second = backend.load(double, {"x": (first, "y")})
        program = backend.program([Run("first", first), Run("second", second)])
        program.run()
        assert simulated.used_bytes() > before
        del first, second, program, backend
        gc.collect()
        assert simulated.used_bytes() == before

    @pytest.fixture
    def double(self, tmp_path: Path) -> Path:
        nodes = [node("Add", "x", "x", out="y")]
        return write(tmp_path / "double.onnx", nodes, {"x": (FLOAT, [2, 3])}, {"y": (FLOAT, [2, 3])})


@pytest.mark.usefixtures("library")
def test_an_engine_that_does_not_fit_is_named_and_not_loaded(tmp_path: Path) -> None:
    path = write(tmp_path / "g.onnx", [node("Neg", "x", out="y")], {"x": (FLOAT, [3])}, {"y": (FLOAT, [3])})
    Compiling().load(path)
    (engine,) = (tmp_path / "engines").glob("*.engine")
    engine.write_bytes(b"not an engine at all")
    with pytest.raises(BackendError, match=rf"{engine}: not loaded: it has 20 bytes.*; run `edge compile {tmp_path} "):
        trt.Engine().load(path)
    engine.unlink()
    engine.with_suffix(".json").unlink()
    with pytest.raises(
        BackendError, match=r"g.onnx: there is no engine for trt 1\d\.\S+ on sm87, Orin; run `edge compile"
    ):
        trt.Engine().load(path)


@pytest.mark.usefixtures("library")
def test_a_graph_that_is_of_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"manifest.json: cannot be read .* engines are made of a bundle's graphs"):
        trt.Engine().load(tmp_path / "g.onnx")
    (tmp_path / MANIFEST).write_text('{"seal": "s", "graphs": {}}')
    with pytest.raises(BackendError, match=r"g.onnx: is no graph of its bundle"):
        trt.Engine().load(tmp_path / "g.onnx")


@pytest.mark.usefixtures("library")
def test_what_the_library_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "e.engine").write_bytes(b"nonsense")
    with pytest.raises(
        BackendError, match=r"e.engine: TensorRT 1\d\.\S+ does not load it: Serialization assertion failed"
    ):
        trt.Engine().open(tmp_path / "e.engine", tmp_path / "g.onnx")


def test_both_are_plug_ins() -> None:
    assert {"trt", "trt_rtx"} <= set(plugins.names("edge_runtime.backends"))
    assert plugins.load("edge_runtime.backends", "trt_rtx").Engine.backend == "trt_rtx"
