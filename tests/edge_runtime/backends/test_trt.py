"""TensorRT under the backend contract, over fakes of TensorRT and pycuda: engines run in ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import plugins
from edge_runtime.backends import ort, trt
from edge_runtime.backends.base import Graph
from edge_runtime.bundle import MANIFEST
from edge_runtime.engines.api import load_api, place_here
from edge_runtime.engines.build import build
from edge_runtime.engines.key import BuildOptions, EngineKey
from edge_runtime.engines.store import Store
from edge_runtime.errors import BackendError, BundleError
from edge_runtime.onnx_nodes import read_nodes
from tests.edge_runtime.backends.contract import FLOAT, BackendContract, node, write
from tests.edge_runtime.engines import fakes
from tests.edge_runtime.engines.fakes import Driver


class Compiling(trt.Engine):
    """Builds the engine of a graph when it is first asked for; its folder becomes a bundle."""

    def load(self, path: Path, feeds: Mapping[str, tuple[Graph, str]] | None = None) -> trt.TrtGraph:
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
            made = build(api, path, nodes, key.options, arch="", timing=timing, tell=lambda part: None)
            store.keep(store.stage(key, made.engine, seconds=made.seconds), held=False)
        return super().load(path, feeds)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    return fakes.install(monkeypatch, "11.0")[1]


@pytest.mark.usefixtures("driver")
class TestTrt(BackendContract):
    engine = Compiling

    def test_a_type_that_no_buffer_has(self, tmp_path: Path) -> None:
        path = write(tmp_path / "d.onnx", [node("Neg", "x", out="y")], {"x": (11, [3])}, {"y": (11, [3])})
        self.refused(path, "x is of type DOUBLE, which is not supported")

    def test_a_run_that_fails_is_one_line_too(self, double: Path, driver: Driver) -> None:
        graph = Compiling().load(double)
        driver.broken = True
        with pytest.raises(BackendError, match=r"double\.onnx: failed while it ran: .* illegal memory") as caught:
            graph.run()
        assert "\n" not in str(caught.value)
        assert Driver.current == 0

    def test_what_the_runtime_writes_into_an_output_is_what_the_next_graph_reads(self, double: Path) -> None:
        """A token policy puts keys and values into the cache that its prefill graph left."""
        backend = Compiling()
        first = backend.load(double)
        second = backend.load(double, {"x": (first, "y")})
        first.outputs["y"][:] = 5.0
        second.run()
        assert (second.outputs["y"] == 10.0).all()
        assert second.addresses["x"] == first.addresses["y"]

    def test_a_graph_of_another_backend_feeds_it(self, double: Path) -> None:
        first = ort.Engine().load(double)
        second = Compiling().load(double, {"x": (first, "twice")})
        assert dict(second.inputs) == {}
        for value in (1.0, -3.0):
            first.inputs["x"][:] = value
            first.run()
            second.run()
            assert (second.outputs["twice"] == 16 * value).all()

    def test_its_memory_is_the_engine_s_own(self, double: Path) -> None:
        graph = Compiling().load(double)
        assert graph.addresses["x"] == graph.inputs["x"].ctypes.data
        assert graph.outputs["y"].dtype == np.float32


@pytest.mark.usefixtures("driver")
def test_an_engine_that_does_not_fit_is_named_and_not_loaded(tmp_path: Path, driver: Driver) -> None:
    path = write(tmp_path / "g.onnx", [node("Neg", "x", out="y")], {"x": (FLOAT, [3])}, {"y": (FLOAT, [3])})
    Compiling().load(path)
    (engine,) = (tmp_path / "engines").glob("*.engine")
    engine.write_bytes(b"not an engine at all")
    with pytest.raises(BackendError, match=rf"{engine}: not loaded: it has 20 bytes.*; run `edge compile {tmp_path} "):
        trt.Engine().load(path)
    engine.unlink()
    engine.with_suffix(".json").unlink()
    with pytest.raises(BackendError, match=r"g.onnx: there is no engine for trt 11.0 on sm87, Orin; run `edge compile"):
        trt.Engine().load(path)


@pytest.mark.usefixtures("driver")
def test_a_graph_that_is_of_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"manifest.json: cannot be read .* engines are made of a bundle's graphs"):
        trt.Engine().load(tmp_path / "g.onnx")
    (tmp_path / MANIFEST).write_text('{"seal": "s", "graphs": {}}')
    with pytest.raises(BackendError, match=r"g.onnx: is no graph of its bundle"):
        trt.Engine().load(tmp_path / "g.onnx")


@pytest.mark.usefixtures("driver")
def test_what_the_library_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "e.engine").write_bytes(b"nonsense")
    with pytest.raises(BackendError, match=r"e.engine: TensorRT 11.0 does not load it: Serialization assertion failed"):
        trt.Engine().open(tmp_path / "e.engine", tmp_path / "g.onnx")


def test_both_are_plug_ins() -> None:
    assert {"trt", "trt_rtx"} <= set(plugins.names("edge_runtime.backends"))
    assert plugins.load("edge_runtime.backends", "trt_rtx").Engine.backend == "trt_rtx"
