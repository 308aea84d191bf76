"""The layer report, on hand-made answers of the engine inspector in the documented format."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge_runtime.engines.layers import quantized_products, read_report
from edge_runtime.onnx_nodes import Node, OnnxGraph

GRAPH = OnnxGraph(
    20,
    (
        Node("QuantizeLinear", "q", "", ("x", "s", "z"), ("xq",)),
        Node("DequantizeLinear", "dq", "", ("xq", "s", "z"), ("xf",)),
        Node("DequantizeLinear", "dw", "", ("w", "ws", "wz"), ("wf",)),
        Node("Transpose", "t", "", ("wf",), ("wt",)),
        Node("MatMul", "node_linear", "", ("xf", "wt"), ("a",)),
        Node("MatMul", "node_linear_1", "", ("a", "v"), ("b",)),
        Node("DequantizeLinear", "d4", "", ("w4", "s4"), ("w4f",)),
        Node("Gemm", "node_gemm", "", ("b", "w4f"), ("y",)),
    ),
    {},
    frozenset(),
)


def layer(nodes: str, *kinds: str, field: str = "Format/Datatype") -> dict[str, Any]:
    inputs = [{"Name": f"in{i}", "Dimensions": [1, 4], field: kind} for i, kind in enumerate(kinds)]
    named = "\x1e".join(f"[ONNX Layer: {node}]" for node in nodes.split())
    return {"Name": "__myl_Fc_myl0_1", "LayerType": "gemm", "Inputs": inputs, "Outputs": [], "Metadata": named}


def report(*layers: Any, side: str = "Bindings") -> Any:
    return read_report(json.dumps({"Layers": layers, side: []}), GRAPH)


def test_products_whose_inputs_were_quantized() -> None:
    assert [node.name for node in quantized_products(GRAPH)] == ["node_linear", "node_gemm"]


def test_a_graph_that_fused() -> None:
    layers = (
        layer("q", "Row major linear FP32"),
        layer("dq dw node_linear", "Row major Int8 format", "Int8"),
        layer("node_linear_1", "Float", "Float"),
        layer("node_gemm", "Float", "Int4"),
    )
    found = report(*layers)
    assert found.unfused == ()
    assert found.note == ""
    assert found.layers == layers


def test_a_product_that_ran_in_floating_point_is_named_with_its_type() -> None:
    """The dequantized weights are a layer of their own, and the product beside it takes halves."""
    layers = (layer("dw", "Int8"), layer("node_linear", "Half", "Half"), layer("node_gemm", "Float", "Float"))
    assert report(*layers, side="I/O Tensors").unfused == (
        "MatMul (node_linear) runs in Half: its quantization did not fuse",
        "Gemm (node_gemm) runs in Float: its quantization did not fuse",
    )


def test_a_product_in_no_layer_is_told_too() -> None:
    found = report(layer("node_linear", "Int8", field="Datatype"))
    assert found.unfused == ("Gemm (node_gemm) is in no layer of the report: its quantization did not fuse",)


@pytest.mark.parametrize("strange", [{}, {"Inputs": 3}, {"Inputs": [4], "Metadata": 5}, {"Inputs": [{"a": "Int8"}]}])
def test_layers_of_another_shape_do_no_harm(strange: dict[str, Any]) -> None:
    assert len(report(strange).unfused) == 2


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("", "is no JSON"),
        ("[" * 5000, "is no JSON"),
        ("[]", "no more than names"),
        ('{"Layers": ["a", "b"], "Bindings": []}', "no more than names"),
        ('{"Layers": 3}', "no more than names"),
    ],
)
def test_an_answer_that_says_nothing(text: str, note: str) -> None:
    found = read_report(text, GRAPH)
    assert note in found.note
    assert (found.unfused, found.layers) == ((), ())
