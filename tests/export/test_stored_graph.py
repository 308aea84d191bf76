"""A graph from its file: what it computes is there when it is asked for, and nothing is read from elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto

from edge_runtime.errors import EdgeError
from export.initializers import write_beside
from export.stored_graph import load_graph
from tests.export.by_hand import model, node, normal

WEIGHT = "model.language.a"
TABLE, ROWS = normal(64, 8), np.arange(600, dtype=np.int64)


def saved(folder: Path) -> Path:
    """g.onnx, whose weights of more than a kilobyte stand in g.onnx.data."""
    nodes = [node("MatMul", ["x", WEIGHT], ["h"]), node("Gather", ["h", "rows"], ["y"], axis=0)]
    whole = model(nodes, {"x": (2, 64)}, ("y",), {WEIGHT: TABLE, "rows": ROWS % 2, "inside": normal(3)})
    write_beside(whole.graph, folder / "g.onnx.data")
    path = folder / "g.onnx"
    onnx.save(ir.serde.serialize_model(whole), str(path))
    return path


def numbers(graph: ir.Graph, name: str) -> np.ndarray:
    tensor = graph.initializers[name].const_value
    assert tensor is not None
    return np.asarray(tensor.numpy())


def test_weights_are_what_was_written(tmp_path: Path) -> None:
    graph = load_graph(saved(tmp_path)).graph
    np.testing.assert_array_equal(numbers(graph, WEIGHT), TABLE)
    np.testing.assert_array_equal(numbers(graph, "rows"), ROWS % 2)
    np.testing.assert_array_equal(numbers(graph, "inside"), normal(3))
    assert graph.initializers[WEIGHT].dtype is ir.DataType.FLOAT


def test_weights_are_read_when_they_are_asked_for_and_each_time_anew(tmp_path: Path) -> None:
    path = saved(tmp_path)
    graph = load_graph(path).graph
    data = path.with_name("g.onnx.data")
    before = data.read_bytes()
    for factor in (2.0, 3.0):
        data.write_bytes(before.replace(TABLE.tobytes(), (TABLE * np.float32(factor)).tobytes()))
        np.testing.assert_array_equal(numbers(graph, WEIGHT), TABLE * np.float32(factor))


def refused(path: Path, words: str) -> None:
    with pytest.raises(EdgeError) as caught:
        load_graph(path)
    assert words in str(caught.value)
    assert str(path.parent) in str(caught.value)
    assert "\n" not in str(caught.value)


def edited(path: Path, **place: str) -> Path:
    """The file with other places in it for its weight."""
    proto = onnx.load(str(path), load_external_data=False)
    (tensor,) = (t for t in proto.graph.initializer if t.name == WEIGHT)
    for entry in tensor.external_data:
        entry.value = place.get(entry.key, entry.value)
    onnx.save(proto, str(path))
    return path


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"location": "../g.onnx.data"}, "is in '../g.onnx.data', outside of the bundle's folder"),
        ({"location": "/etc/passwd"}, "outside of the bundle's folder"),
        ({"location": "other.data"}, "is in 'other.data', which is not there; copy the whole bundle"),
        ({"length": "7"}, "has 7 bytes, expected 2048"),
        ({"offset": "8192000"}, "copy the whole bundle"),
    ],
)
def test_weights_that_are_not_where_they_should_be(tmp_path: Path, place: dict[str, str], words: str) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "g.onnx.data").write_bytes(bytes(1 << 16))
    refused(edited(saved(tmp_path / "b"), **place), words)


def test_data_that_end_early(tmp_path: Path) -> None:
    path = saved(tmp_path)
    data = path.with_name("g.onnx.data")
    data.write_bytes(data.read_bytes()[:-1])
    refused(path, "copy the whole bundle")


def test_data_that_end_early_only_later(tmp_path: Path) -> None:
    path = saved(tmp_path)
    graph = load_graph(path).graph
    path.with_name("g.onnx.data").write_bytes(b"")
    with pytest.raises(EdgeError, match=r"g\.onnx\.data: ends before byte"):
        numbers(graph, WEIGHT)


@pytest.mark.parametrize("content", [b"this is no graph", bytes(range(256))])
def test_what_is_no_graph(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "g.onnx").write_bytes(content)
    refused(tmp_path / "g.onnx", "cannot be read")


def test_what_is_not_there(tmp_path: Path) -> None:
    refused(tmp_path / "g.onnx", "cannot be read")


def test_a_graph_that_is_quantized_already(tmp_path: Path) -> None:
    path = saved(tmp_path)
    proto = onnx.load(str(path), load_external_data=False)
    (tensor,) = (t for t in proto.graph.initializer if t.name == WEIGHT)
    tensor.data_type = TensorProto.INT4
    onnx.save(proto, str(path))
    refused(path, f"{WEIGHT} is INT4, and this is no quantized graph")
