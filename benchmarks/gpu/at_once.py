"""GPU backends as a check needs them: an engine is built when its graph is first asked for, wherever its file is."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from edge_runtime import plugins
from edge_runtime.backends import trt
from edge_runtime.backends.base import Backend, Feeds, Graph
from edge_runtime.engines.api import load_api, place_here
from edge_runtime.engines.build import build
from edge_runtime.engines.key import BuildOptions
from edge_runtime.errors import BackendError, BundleError
from edge_runtime.onnx_nodes import read_nodes

BACKENDS = ("trt", "trt_rtx", "ort_cuda")
TITLES = {"trt": "TensorRT", "trt_rtx": "TensorRT-RTX", "ort_cuda": "ONNX Runtime CUDA"}


class Building(trt.Engine):
    """TensorRT over graphs that are in no bundle."""

    def load(self, path: Path, feeds: Feeds | None = None, inner: Collection[str] = ()) -> trt.TrtGraph:
        api = load_api(self.backend)
        place = place_here(api)
        try:
            nodes = read_nodes(path)
        except BundleError as error:
            raise BackendError(str(error)) from error
        with tempfile.TemporaryDirectory() as folder:
            timing = Path(folder) / "timing"
            made = build(api, path, nodes, BuildOptions(), arch=place.arch, timing=timing, tell=lambda _: None)
            engine = Path(folder) / "engine"
            engine.write_bytes(made.engine)
            return self.open(engine, path, feeds, inner)


class BuildingRtx(Building):
    """TensorRT-RTX over such graphs."""

    backend = "trt_rtx"


def at_once(name: str) -> type[Backend]:
    """The backend `name` of `BACKENDS`, for any graph file. Raises `EdgeError` where its library is missing."""
    if name == "ort_cuda":
        found: Any = plugins.load("edge_runtime.backends", name).Engine
        return found
    return {"trt": Building, "trt_rtx": BuildingRtx}[name]


def tried(name: str, folder: Path) -> Graph:
    """One tiny graph, loaded and run on the GPU by the backend `name`. Raises `EdgeError` where that fails."""
    import numpy as np
    import onnx

    side = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [2, 3]) for n in ("x", "y")]
    nodes = [onnx.helper.make_node("Add", ["x", "x"], ["y"])]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "double", side[:1], side[1:]),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
        ir_version=9,
    )
    path = folder / "double.onnx"
    onnx.save(model, str(path))
    graph = at_once(name)(1).load(path)
    x = graph.inputs["x"]
    x[:] = np.arange(6).reshape(2, 3)
    graph.run()
    if not np.array_equal(graph.outputs["y"], 2 * x):
        raise BackendError(f"{name}: 2 × {x.tolist()} is {graph.outputs['y'].tolist()} to it")
    return graph
