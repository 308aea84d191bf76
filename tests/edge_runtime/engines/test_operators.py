"""What of a graph TensorRT 10.3 does not take."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.engines.operators import tensorrt_10_3, unsupported
from edge_runtime.onnx_nodes import ELEMENTS, read_nodes
from tests.edge_runtime.engines.onnx_writer import FLOAT, INT64, UINT8, Op, doubling, graph, model


def flaws(tmp_path: Path, *ops: Op, kind: int = FLOAT, opset: int = 20) -> tuple[str, ...]:
    body = graph(ops, {"x": (kind, (4,)), "n": (INT64, ())}, {"y": (FLOAT, (4,))}, {"axis": 0})
    (tmp_path / "g.onnx").write_bytes(model(body, opset))
    return unsupported(read_nodes(tmp_path / "g.onnx"))


def test_the_list_speaks_of_types_that_there_are() -> None:
    found = tensorrt_10_3()
    assert "onnx-tensorrt" in found.source
    assert len(found.operators) > 130
    assert {kind for kinds in found.operators.values() for kind in kinds} <= set(ELEMENTS.values())
    assert set(found.constant) <= set(found.operators)


@pytest.mark.parametrize(
    ("op", "kind", "line"),
    [
        (Op("Bernoulli", ("x",), "y", "node_b"), FLOAT, "operator Bernoulli (node_b): it has none such"),
        (Op("FusedMatMul", ("x",), "y", domain="com.microsoft"), FLOAT, "operator FusedMatMul: it has none of com."),
        (Op("Reshape", ("x", "axis"), "y", "node_view"), UINT8, "operator Reshape (node_view) of UINT8: it has FP32"),
        (Op("CumSum", ("x", "axis"), "y"), INT64, "operator CumSum of INT64: it has FP32, FP16, BF16"),
        (Op("CumSum", ("x", "n"), "y"), FLOAT, "operator CumSum: its input n must be a constant"),
        (Op("QuantizeLinear", ("x", "n"), "y"), FLOAT, "operator QuantizeLinear: its input n must be a constant"),
    ],
)
def test_an_operator_that_it_does_not_take(tmp_path: Path, op: Op, kind: int, line: str) -> None:
    (found,) = flaws(tmp_path, op, kind=kind)
    assert found.startswith(line)


def test_what_it_takes(tmp_path: Path) -> None:
    cast = Op("Cast", ("x",), "f", numbers={"to": FLOAT})
    assert flaws(tmp_path, cast, Op("CumSum", ("f", "axis"), "y"), kind=UINT8) == ()
    assert flaws(tmp_path, Op("Slice", ("x", "axis", "axis", "n"), "y"), opset=21) == ()
    (tmp_path / "d.onnx").write_bytes(doubling())
    assert unsupported(read_nodes(tmp_path / "d.onnx")) == ()


@pytest.mark.parametrize("opset", [8, 22])
def test_an_opset_that_it_does_not_know(tmp_path: Path, opset: int) -> None:
    (found,) = flaws(tmp_path, Op("Relu", ("x",), "y"), opset=opset)
    assert found == f"opset {opset}: it has 9 to 21"
