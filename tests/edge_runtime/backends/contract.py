"""What every inference backend must do. Subclass `BackendContract` in a file per backend and set `engine`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.backends.base import Backend
from edge_runtime.errors import BackendError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
FLOAT, INT64, BOOL, UINT8 = 1, 7, 9, 2


def write(path: Path, nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any], opset: int = 20) -> Path:
    """Write a graph by hand; `inputs` and `outputs` map names to (type, shape)."""
    values = [
        [onnx.helper.make_tensor_value_info(name, *kind) for name, kind in side.items()] for side in (inputs, outputs)
    ]
    graph = onnx.helper.make_graph(nodes, "g", *values)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    onnx.save(model, str(path))
    return path


def node(kind: str, *inputs: str, out: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, list(inputs), [out], **attributes)


class BackendContract:
    """Tests by behaviour alone: arithmetic, memory that stays where it is, refusals of one line."""

    engine: Callable[[int], Backend]

    @pytest.fixture
    def double(self, tmp_path: Path) -> Path:
        """y = x + x, and twice = y + y; float32 [2, 3]."""
        nodes = [node("Add", "x", "x", out="y"), node("Add", "y", "y", out="twice")]
        shape = (FLOAT, [2, 3])
        return write(tmp_path / "double.onnx", nodes, {"x": shape}, {"y": shape, "twice": shape})

    @pytest.mark.parametrize("threads", [1, 2])
    def test_it_computes_in_place_again_and_again(self, double: Path, threads: int) -> None:
        graph = type(self).engine(threads).load(double)
        x = graph.inputs["x"]
        for k in range(3):
            x[:] = np.arange(6).reshape(2, 3) + k
            graph.run()
            np.testing.assert_array_equal(graph.outputs["y"], 2 * x)
            np.testing.assert_array_equal(graph.outputs["twice"], 4 * x)
        assert graph.inputs["x"] is x

    def test_buffers_have_the_types_and_shapes_of_the_graph(self, tmp_path: Path) -> None:
        nodes = [
            node("Not", "mask", out="none"),
            node("Identity", "tokens", out="same"),
            node("Cast", "frame", out="light", to=FLOAT),
        ]
        inputs = {"mask": (BOOL, [1, 4]), "tokens": (INT64, [3]), "frame": (UINT8, [2, 2, 3])}
        outputs = {"none": (BOOL, [1, 4]), "same": (INT64, [3]), "light": (FLOAT, [2, 2, 3])}
        graph = type(self).engine(1).load(write(tmp_path / "types.onnx", nodes, inputs, outputs))
        found = {name: (b.dtype, b.shape) for name, b in {**graph.inputs, **graph.outputs}.items()}
        assert found == {
            "mask": (np.bool_, (1, 4)),
            "tokens": (np.int64, (3,)),
            "frame": (np.uint8, (2, 2, 3)),
            "none": (np.bool_, (1, 4)),
            "same": (np.int64, (3,)),
            "light": (np.float32, (2, 2, 3)),
        }
        graph.inputs["mask"][:] = [[True, False, True, False]]
        graph.inputs["tokens"][:] = [2**40, -1, 0]
        graph.inputs["frame"][:] = 255
        graph.run()
        assert graph.outputs["none"].tolist() == [[False, True, False, True]]
        assert graph.outputs["same"].tolist() == [2**40, -1, 0]
        assert (graph.outputs["light"] == 255.0).all()

    def test_one_graph_feeds_another(self, double: Path) -> None:
        backend = type(self).engine(1)
        first = backend.load(double)
        second = backend.load(double, {"x": (first, "twice")})
        assert dict(second.inputs) == {}
        for value in (1.0, -3.0):
            first.inputs["x"][:] = value
            first.run()
            second.run()
            assert (second.outputs["twice"] == 16 * value).all()

    def test_a_feed_that_does_not_fit(self, double: Path, tmp_path: Path) -> None:
        other = write(tmp_path / "w.onnx", [node("Neg", "x", out="y")], {"x": (FLOAT, [3])}, {"y": (FLOAT, [3])})
        backend = type(self).engine(1)
        first = backend.load(double)
        self.refused(other, r"input x takes float32 \[3\], its feed gives float32 \[2, 3\]", {"x": (first, "y")})
        self.refused(other, "there is no output none to feed into an input x", {"x": (first, "none")})
        self.refused(other, "there is no output y to feed into an input z", {"z": (first, "y")})

    def test_a_file_that_is_not_there_or_not_a_graph(self, tmp_path: Path, double: Path) -> None:
        self.refused(tmp_path / "none.onnx", "none.onnx")
        (tmp_path / "text.onnx").write_text("hello")
        self.refused(tmp_path / "text.onnx", "text.onnx")
        double.write_bytes(double.read_bytes()[:-20])
        self.refused(double, "double.onnx")

    def test_an_operator_that_is_missing(self, tmp_path: Path) -> None:
        nodes = [onnx.helper.make_node("Levitate", ["x"], ["y"], domain="")]
        self.refused(write(tmp_path / "l.onnx", nodes, {"x": (FLOAT, [3])}, {"y": (FLOAT, [3])}), "Levitate")

    def test_a_shape_that_is_not_static(self, tmp_path: Path) -> None:
        nodes = [node("Neg", "x", out="y")]
        path = write(tmp_path / "d.onnx", nodes, {"x": (FLOAT, ["n", 3])}, {"y": (FLOAT, ["n", 3])})
        self.refused(path, "shapes must be static")

    def refused(self, path: Path, words: str, feeds: Any = None) -> None:
        with pytest.raises(BackendError, match=words) as caught:
            type(self).engine(1).load(path, feeds)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
