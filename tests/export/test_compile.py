"""Graphs of the exporter in TensorRT-RTX for SM86, and held against the operators of TensorRT 10.3.

A few, at the precisions that differ most: `make compile-matrix` has every family at all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir
import pytest

from edge_runtime.engines.api import load_api
from edge_runtime.engines.build import build
from edge_runtime.engines.key import BuildOptions
from edge_runtime.engines.operators import unsupported
from edge_runtime.onnx_nodes import read_nodes
from export.graphs import DECODED, ModelGraph, decode_inputs
from export.half import TYPES
from export.image import ImageGraph, Preprocess
from export.layers import ALL_PARTS, layers
from export.onnx_file import save_graph, write_onnx
from export.quantize import Recipe, quantize
from export.resize import Filter
from tests.export import tiny, tiny_prismatic
from tests.export.tiny_graphs import pi0_graphs

pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx is not installed, or not for this machine")

LANGUAGE = tiny_prismatic.LANGUAGE
SLOTS, BLOCK = 12, 16


def compiled(path: Path) -> int:
    """Bytes of the engine of a graph, which TensorRT 10.3 would take too."""
    nodes = read_nodes(path)
    assert unsupported(nodes) == ()
    timing = path.with_name("timing")
    made = build(load_api("trt_rtx"), path, nodes, BuildOptions(), arch="sm86", timing=timing, tell=lambda part: None)
    return made.engine.nbytes


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """pi0's step and OpenVLA's decode, in float32."""
    folder = tmp_path_factory.mktemp("traced")
    cache = decode_inputs(LANGUAGE.depth, LANGUAGE.num_kv_heads, SLOTS, LANGUAGE.head_dim)
    made = {
        "step": pi0_graphs(tiny.model())["step"],
        "decode": ModelGraph(tiny_prismatic.openvla(), "decode", cache, DECODED),
    }
    for name, graph in made.items():
        write_onnx(graph, graph.signature(), folder / f"{name}.onnx")
    return {name: folder / f"{name}.onnx" for name in made}


@pytest.mark.parametrize(
    ("name", "precision", "floats"),
    [
        ("step", "", "fp32"),
        ("step", "", "bf16"),
        ("step", "int8", "fp16"),
        ("step", "int8", "bf16"),
        ("decode", "int4", "fp16"),
    ],
)
def test_a_graph_of_a_model(traced: Mapping[str, Path], tmp_path: Path, name: str, precision: str, floats: str) -> None:
    whole = ir.load(traced[name])
    found = [layer.name for layer in layers(whole.graph)] if precision else []
    types = {part: TYPES[floats] for part in ALL_PARTS if part != "projections"}
    quantize(whole, Recipe(dict.fromkeys(found, precision), types, dict.fromkeys(found, 4.0), block=BLOCK))
    save_graph(whole, tmp_path / "g.onnx")
    made = {node.op for node in read_nodes(tmp_path / "g.onnx").nodes}
    assert ("QuantizeLinear" in made, "DequantizeLinear" in made) == (precision == "int8", precision != "")
    assert compiled(tmp_path / "g.onnx") > 1_000_000


@pytest.mark.parametrize("filter", ["torch-bilinear", "pil-lanczos"])
def test_the_image_graph(tmp_path: Path, filter: Filter) -> None:
    """Bytes of two sizes, one of them with a side that needs no resizing."""
    crop = 1.0 if filter == "torch-bilinear" else 0.9
    module = ImageGraph({"base": (20, 30), "wrist": (33, 18)}, Preprocess(18, filter, "stretch", crop))
    write_onnx(module, module.signature(), tmp_path / "g.onnx")
    assert compiled(tmp_path / "g.onnx") > 10_000
