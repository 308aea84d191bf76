"""What a robot's backends may not take never leaves the export."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from export.errors import ExportError
from export.onnx_file import OPSET, Signature, check_onnx, write_onnx


class Double(nn.Module):
    """A detour through float64, as the references compute the time."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(torch.float64) * 0.1).to(torch.float32)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out


SIGNATURE = Signature({"x": torch.zeros(1, 3)}, ("y",))


def test_a_plain_module(tmp_path: Path) -> None:
    path = tmp_path / "plain.onnx"
    written = write_onnx(Plain(), SIGNATURE, path)
    assert (written.parameters, written.precision) == (8, "float32")
    model = onnx.load(path)
    assert [v.name for v in model.graph.input] == ["x"]
    assert [v.name for v in model.graph.output] == ["y"]
    assert model.opset_import[0].version <= OPSET
    assert model.ir_version == 9
    assert str(Path(__file__).parent) not in path.read_bytes().decode("latin1")
    assert [p.name for p in tmp_path.iterdir()] == ["plain.onnx"]


def test_weights_too_large_for_the_file_stand_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.onnx_file.INLINE_BYTES", 0)
    monkeypatch.setattr(Plain, "__init__", _large)
    assert (
        write_onnx(Plain(), Signature({"x": torch.zeros(1, 300)}, ("y",)), tmp_path / "large.onnx").parameters == 60200
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["large.onnx", "large.onnx.data"]
    assert (tmp_path / "large.onnx").stat().st_size < 10_000
    assert onnx.load(tmp_path / "large.onnx").graph.initializer[0].raw_data


def _large(module: Plain) -> None:
    nn.Module.__init__(module)
    module.linear = nn.Linear(300, 200)


def test_float64_is_found_wherever_it_hides(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"d\.onnx: .* is DOUBLE, which robots do not take"):
        write_onnx(Double(), SIGNATURE, tmp_path / "d.onnx")


def graph(
    path: Path, *nodes: onnx.NodeProto, kind: int = TensorProto.FLOAT, size: int | str = 3, opset: int = 20
) -> Path:
    """A graph x → y written by hand."""
    x = helper.make_tensor_value_info("x", kind, [1, size])
    y = helper.make_tensor_value_info("y", kind, [1, size])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    used = [o for o in opsets if o.domain in {n.domain for n in nodes} | {""}]
    onnx.save(helper.make_model(helper.make_graph(list(nodes), "g", [x], [y]), opset_imports=used), path)
    return path


RELU = helper.make_node("Relu", ["x"], ["y"])


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"nodes": (helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft"),)}, "beyond the standard opset 20"),
        ({"nodes": (RELU,), "opset": 21}, "beyond the standard opset 20"),
        ({"nodes": (RELU,), "size": "n"}, "x has a shape that is not static"),
        ({"nodes": (RELU,), "kind": TensorProto.DOUBLE}, "x is DOUBLE"),
    ],
)
def test_graphs_that_no_robot_should_get(tmp_path: Path, made: dict[str, object], words: str) -> None:
    nodes = made.pop("nodes")
    path = graph(tmp_path / "g.onnx", *nodes, **made)  # type: ignore[misc,arg-type]
    with pytest.raises(ExportError, match=words):
        check_onnx(path)


def test_float64_in_a_constant_between_casts_is_found_too(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.DOUBLE, [1], [0.1]))
    cast = helper.make_node("Cast", ["c"], ["f"], to=TensorProto.FLOAT)
    with pytest.raises(ExportError, match="is DOUBLE"):
        check_onnx(graph(tmp_path / "g.onnx", constant, cast, helper.make_node("Add", ["x", "f"], ["y"])))


def test_an_honest_graph_passes(tmp_path: Path) -> None:
    assert check_onnx(graph(tmp_path / "g.onnx", RELU)).parameters == 0
