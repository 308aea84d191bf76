"""The reader of ONNX files: what operators, types and constants it finds, and that no bytes do it harm."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import BundleError
from edge_runtime.onnx_nodes import read_nodes
from tests.edge_runtime.engines.onnx_writer import BOOL, FLOAT, UINT8, Op, doubling, graph, model


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_nodes_types_and_constants(tmp_path: Path) -> None:
    ops = [
        Op("Cast", ("x",), "f", "node_cast", numbers={"to": FLOAT}),
        Op("Constant", (), "two", numbers={"value_int": 2}),
        Op("CumSum", ("f", "axis"), "y", domain="ai.onnx"),
    ]
    body = graph(ops, {"x": (UINT8, (4,))}, {"y": (FLOAT, (4,))}, {"axis": 0})
    found = read_nodes(written(tmp_path / "g.onnx", model(body, 21)))
    assert found.opset == 21
    assert [str(node) for node in found.nodes] == ["Cast (node_cast)", "Constant", "CumSum"]
    assert found.nodes[2].inputs == ("f", "axis")
    assert found.nodes[2].domain == "ai.onnx"
    assert found.types == {"x": "UINT8", "y": "FP32", "axis": "INT64"}
    assert found.constants == {"axis", "two"}


def test_graphs_inside_graphs(tmp_path: Path) -> None:
    inner = graph([Op("Sinh", ("a",), "b")], {}, {})
    ops = [Op("If", ("c",), "y", inner=inner)]
    body = graph(ops, {"c": (BOOL, ())}, {"y": (FLOAT, (1,))})
    found = read_nodes(written(tmp_path / "g.onnx", model(body)))
    assert [node.op for node in found.nodes] == ["If", "Sinh"]


@pytest.mark.parametrize(
    "content", [b"", b"hello", doubling()[:-9], b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
)
def test_what_is_no_onnx_file(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path / "g.onnx", content)
    with pytest.raises(BundleError, match=r"is no ONNX file .* export the bundle again") as caught:
        read_nodes(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"none.onnx: cannot be read"):
        read_nodes(tmp_path / "none.onnx")


@given(st.data())
def test_whatever_bytes_there_are(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = doubling(2)
    at = data.draw(st.integers(0, len(whole) - 1))
    content = data.draw(st.one_of(st.binary(max_size=60), st.just(whole[:at] + b"\x80" + whole[at + 1 :])))
    path = written(tmp_path_factory.getbasetemp() / "fuzz.onnx", content)
    with suppress(BundleError):
        assert read_nodes(path).nodes
