"""A graph in pieces is the graph: whatever the budget, wherever it is cut, whoever feeds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_runtime.backends import ort
from edge_runtime.backends.base import Backend, Buffer, Graph
from edge_runtime.errors import BackendError
from export import pieces
from export.onnx_file import write_onnx
from tests.export import tiny
from tests.export.small import small
from tests.export.tiny_graphs import pi0_graphs

CACHE = ("keys", "values", "prefix_mask")
TABLE_BYTES = 40 * 24 * 4
"""The largest weight of the small module."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "x.onnx"
    write_onnx(small(), small().signature(), path)
    return path


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """prefix.onnx and step.onnx, with their weights in files beside them."""
    folder = tmp_path_factory.mktemp("beside")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("export.onnx_file.INLINE_BYTES", 0)
        for name, graph in pi0_graphs(tiny.model()).items():
            write_onnx(graph, graph.signature(), folder / f"{name}.onnx")
    return folder


@pytest.fixture(scope="module", params=["beside", "inside"])
def pi0(request: pytest.FixtureRequest, beside: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, or with their weights inside of them."""
    if request.param == "beside":
        return beside
    folder = tmp_path_factory.mktemp("inside")
    for name in ("prefix.onnx", "step.onnx"):
        onnx.save(onnx.load(beside / name), folder / name)
    return folder


def fill(graph: Graph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for buffer in graph.inputs.values():
        if buffer.dtype == np.float32:
            buffer[...] = rng.standard_normal(buffer.shape)
        else:
            buffer[...] = rng.integers(0, 2 if buffer.dtype == np.bool_ else 30, buffer.shape)


def chain(engine: Backend, folder: Path, seed: int) -> dict[str, Buffer]:
    """What prefix and two runs of step give."""
    prefix = engine.load(folder / "prefix.onnx")
    step = engine.load(folder / "step.onnx", {name: (prefix, name) for name in CACHE})
    assert not step.inputs.keys() & set(CACHE)
    fill(prefix, seed)
    fill(step, seed)
    prefix.run()
    step.run()
    first = step.outputs["velocity"].copy()
    step.inputs["x_t"][...] -= first / 4
    step.run()
    return {**prefix.outputs, "first": first, "second": step.outputs["velocity"]}


@pytest.mark.parametrize("budget", [0, 3000, 20_000])
def test_any_budget_gives_what_the_whole_graph_gives(pi0: Path, budget: int) -> None:
    whole, pieced = (chain(engine, pi0, 1) for engine in (ort.Engine(), pieces.Engine(budget=budget)))
    for name, values in whole.items():
        np.testing.assert_allclose(pieced[name], values, rtol=0, atol=1e-5, err_msg=name)
    other = chain(pieces.Engine(budget=budget), pi0, 2)
    assert np.abs(other["second"] - pieced["second"]).max() > 1e-2


def test_weights_that_fit_are_loaded_once(file: Path) -> None:
    total = sum(t.size * t.itemsize for t in map(onnx.numpy_helper.to_array, onnx.load(file).graph.initializer))
    assert isinstance(pieces.Engine(budget=total).load(file), ort.OrtGraph)
    assert isinstance(pieces.Engine(budget=total - 1).load(file), pieces.PiecedGraph)


@pytest.mark.parametrize("budget", [0, 500, TABLE_BYTES, 5000])
def test_a_piece_holds_its_budget_or_one_weight(file: Path, budget: int) -> None:
    whole = onnx.load(file)
    parts = [onnx.load_from_string(part.model) for part in pieces.pieces(whole, budget)]
    for part in parts:
        onnx.checker.check_model(part)
        sizes = [onnx.numpy_helper.to_array(t).nbytes for t in part.graph.initializer]
        assert sum(sizes) <= budget or len([n for n in part.graph.node if set(n.input) & names(part)]) == 1
    assert [n.name for part in parts for n in part.graph.node] == [n.name for n in whole.graph.node]
    assert len(parts) > 1


def names(model: onnx.ModelProto) -> set[str]:
    return {tensor.name for tensor in model.graph.initializer}


def test_outputs_are_written_where_they_were_and_inputs_read_where_they_are(file: Path) -> None:
    graph, whole = pieces.Engine(budget=0).load(file), ort.Engine().load(file)
    out = graph.outputs["logits"]
    for seed in (1, 2):
        fill(graph, seed)
        fill(whole, seed)
        graph.run()
        whole.run()
        np.testing.assert_allclose(out, whole.outputs["logits"], rtol=0, atol=1e-5)
    assert graph.outputs["logits"] is out


def test_a_value_may_be_an_output_and_be_read_much_later(tmp_path: Path) -> None:
    weight = onnx.numpy_helper.from_array(np.ones(4, np.float32), "w")
    again = onnx.numpy_helper.from_array(np.full(4, 2, np.float32), "v")
    floats = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "early", "late")]
    nodes = [
        helper.make_node("Add", ["x", "w"], ["early"]),
        helper.make_node("Mul", ["early", "v"], ["a"]),
        helper.make_node("Mul", ["a", "w"], ["b"]),
        helper.make_node("Add", ["b", "early"], ["c"]),
        helper.make_node("Add", ["c", "x"], ["late"]),
    ]
    graph = helper.make_graph(nodes, "g", floats[:1], floats[1:], [weight, again])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), tmp_path / "g.onnx")
    made = pieces.Engine(budget=0).load(tmp_path / "g.onnx")
    made.inputs["x"][...] = [0, 1, 2, 3]
    made.run()
    assert made.outputs["early"].tolist() == [1, 2, 3, 4]
    assert made.outputs["late"].tolist() == [3, 7, 11, 15]


def test_what_a_branch_reads_is_carried_to_it(tmp_path: Path) -> None:
    """A subgraph sees the values of the graph around it, without being given them."""
    scale, shift = (onnx.numpy_helper.from_array(np.full(4, n, np.float32), name) for n, name in ((3, "w"), (5, "v")))
    x, y, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y", "out"))
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    yes = helper.make_graph([helper.make_node("Add", ["a", "v"], ["out"])], "yes", [], [out])
    no = helper.make_graph([helper.make_node("Identity", ["x"], ["out"])], "no", [], [out])
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["a"]),
        helper.make_node("If", ["flag"], ["y"], then_branch=yes, else_branch=no),
    ]
    graph = helper.make_graph(nodes, "g", [x, flag], [y], [scale, shift])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), tmp_path / "g.onnx")
    made = pieces.Engine(budget=0).load(tmp_path / "g.onnx")
    made.inputs["x"][...] = 1
    made.inputs["flag"][...] = True
    made.run()
    assert made.outputs["y"].tolist() == [8, 8, 8, 8]


def test_what_is_wrong_is_said_in_one_line(file: Path, tmp_path: Path, pi0: Path) -> None:
    engine = pieces.Engine(budget=0)
    (tmp_path / "bad.onnx").write_bytes(b"\xff" * 100)
    for path in (tmp_path / "bad.onnx", tmp_path / "none.onnx"):
        with pytest.raises(BackendError, match=rf"{path.name}: cannot be read") as caught:
            engine.load(path)
        assert "\n" not in str(caught.value)
    prefix = engine.load(pi0 / "prefix.onnx")
    with pytest.raises(BackendError, match=r"input x_t takes float32 .*, its feed gives"):
        engine.load(pi0 / "step.onnx", {"x_t": (prefix, "keys")})
    with pytest.raises(BackendError, match="there is no output nothing to feed into an input keys"):
        engine.load(pi0 / "step.onnx", {"keys": (prefix, "nothing")})


def test_weights_that_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.onnx_file.INLINE_BYTES", 0)
    write_onnx(small(), small().signature(), tmp_path / "x.onnx")
    graph = pieces.Engine(budget=0).load(tmp_path / "x.onnx")
    (tmp_path / "x.onnx.data").unlink()
    with pytest.raises(BackendError, match=r"x\.onnx: a piece of it failed: ") as caught:
        graph.run()
    assert "\n" not in str(caught.value)
