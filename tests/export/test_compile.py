"""Graphs of the exporter in TensorRT-RTX for SM86, and held against the operators of TensorRT 10.3."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from edge_runtime.engines.api import load_api
from edge_runtime.engines.build import build
from edge_runtime.engines.key import BuildOptions
from edge_runtime.engines.operators import unsupported
from edge_runtime.onnx_nodes import read_nodes
from export.image import ImageGraph, Preprocess
from export.onnx_file import write_onnx
from export.resize import Filter
from tests.export import tiny
from tests.export.tiny_graphs import pi0_graphs

pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx is not installed, or not for this machine")


def compiled(folder: Path, module: nn.Module) -> int:
    """Bytes of the engine of a module's graph, which TensorRT 10.3 would take too."""
    path = folder / "g.onnx"
    write_onnx(module, module.signature(), path)  # type: ignore[operator]
    nodes = read_nodes(path)
    assert unsupported(nodes) == ()
    timing = folder / "timing"
    made = build(load_api("trt_rtx"), path, nodes, BuildOptions(), arch="sm86", timing=timing, tell=lambda part: None)
    return made.engine.nbytes


def test_the_step_graph_of_a_pi0(tmp_path: Path) -> None:
    assert compiled(tmp_path, pi0_graphs(tiny.model())["step"]) > 1_000_000


@pytest.mark.parametrize("filter", ["torch-bilinear", "pil-lanczos"])
def test_the_image_graph(tmp_path: Path, filter: Filter) -> None:
    """Bytes of two sizes, one of them with a side that needs no resizing."""
    crop = 1.0 if filter == "torch-bilinear" else 0.9
    module = ImageGraph({"base": (20, 30), "wrist": (33, 18)}, Preprocess(18, filter, "stretch", crop))
    assert compiled(tmp_path, module) > 10_000
