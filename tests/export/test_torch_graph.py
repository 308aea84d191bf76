"""ONNX files run by PyTorch in their own types: the contract, weights in memory and read anew, taps, refusals."""

from __future__ import annotations

import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from edge_runtime.backends import ort
from edge_runtime.backends.base import Backend, Graph
from edge_runtime.errors import BackendError
from export import onnx_weights, torch_graph
from export.onnx_file import write_onnx
from export.torch_graph import Engine, Tap
from tests.edge_runtime.backends.contract import FLOAT, INT64, BackendContract, node, write
from tests.export.small import small
from tests.export.test_pieces import fill

BF16, F16, DOUBLE = TensorProto.BFLOAT16, TensorProto.FLOAT16, TensorProto.DOUBLE
MIX_BYTES, TABLE_BYTES, PATCHES_BYTES = 24 * 24 * 4, 40 * 24 * 4, 24 * 3 * 16 * 4
"""The large weights of the small module."""


class TestTorchGraph(BackendContract):
    engine = Engine

    @pytest.mark.parametrize("kind", [BF16, DOUBLE])
    def test_a_type_that_no_buffer_has(self, tmp_path: Path, kind: int) -> None:
        path = write(tmp_path / "d.onnx", [node("Neg", "x", out="y")], {"x": (kind, [3])}, {"y": (kind, [3])})
        self.refused(path, f"x is {TensorProto.DataType.Name(kind)}, which numpy has no type for")

    def test_a_run_that_fails_is_one_line_too(self, tmp_path: Path) -> None:
        sides = {"x": (FLOAT, [3]), "i": (INT64, [1])}
        graph = Engine().load(
            write(tmp_path / "g.onnx", [node("Gather", "x", "i", out="y")], sides, {"y": (FLOAT, [1])})
        )
        graph.inputs["i"][:] = 99
        with pytest.raises(BackendError, match=r"g\.onnx: Gather y failed: ") as caught:
            graph.run()
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("made", "words"),
        [
            ([node("Neg", "x", out="y", loud=1)], "Neg y cannot be run: .*loud"),
            ([node("Add", "x", "", out="y")], "Add y lacks an input"),
            ([node("Add", "x", "z", out="y")], "Add y takes z, which nothing before it gives"),
            ([node("Add", "x", "a", out="y"), node("Neg", "x", out="a")], "Add y takes a, which nothing before it"),
            ([node("Neg", "x", out="y"), node("Abs", "x", out="y")], "Abs y gives y, which is there already"),
            ([node("Neg", "x", out="x"), node("Neg", "x", out="y")], "Neg x gives x, which is there already"),
            ([node("Neg", "x", out="z")], "nothing gives the output y"),
            (
                [node("Cast", "x", out="h", to=F16), node("Add", "x", "h", out="y")],
                "holds together: .*inconsistent type",
            ),
            ([node("Cast", "x", out="y", to=F16)], "holds together: .*type"),
            ([node("Cast", "x", out="d", to=DOUBLE), node("Cast", "d", out="y", to=FLOAT)], "d is DOUBLE"),
            ([helper.make_node("Split", ["x"], ["y"], domain="far.away")], "Split y: there is no such operator"),
            ([node("Concat", "x", "x", out="y", axis=0)], "holds together: .*shape"),
        ],
    )
    def test_a_graph_that_does_not_hold_together(self, tmp_path: Path, made: list[Any], words: str) -> None:
        self.refused(write(tmp_path / "w.onnx", made, {"x": (FLOAT, [3])}, {"y": (FLOAT, [3])}), words)

    @pytest.mark.parametrize("opset", [17, 23])
    def test_an_opset_that_is_not_known(self, tmp_path: Path, opset: int) -> None:
        path = write(
            tmp_path / "o.onnx", [node("Neg", "x", out="y")], {"x": (FLOAT, [3])}, {"y": (FLOAT, [3])}, opset=opset
        )
        self.refused(path, f"has operators of .*{opset}.*18 to 22")

    def test_more_outputs_than_it_has(self, tmp_path: Path) -> None:
        inputs = {"x": (FLOAT, [2, 3]), "s": (FLOAT, [3])}
        for names, fits in ((["y", "", ""], True), (["y", "mean"], False)):
            made = [helper.make_node("LayerNormalization", ["x", "s"], names)]
            path = write(tmp_path / "l.onnx", made, inputs, {"y": (FLOAT, [2, 3])})
            if fits:
                Engine().load(path).run()
            else:
                self.refused(path, "has an output that is not supported")

    def test_an_input_of_an_absurd_size(self, tmp_path: Path) -> None:
        huge = (FLOAT, [2**40, 2**10])
        self.refused(write(tmp_path / "h.onnx", [node("Neg", "x", out="y")], {"x": huge}, {"y": huge}), "too large")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """small.onnx, with its weights in a file beside it."""
    folder = tmp_path_factory.mktemp("beside")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("export.onnx_file.INLINE_BYTES", 0)
        write_onnx(small(), small().signature(), folder / "small.onnx")
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what is read from files of weights, in order; nothing is too small to be read anew."""
    log: list[int] = []
    read = onnx_weights._read

    def counted(file: Path, offset: int, nbytes: int) -> Tensor:
        log.append(nbytes)
        return read(file, offset, nbytes)

    monkeypatch.setattr(onnx_weights, "_read", counted)
    monkeypatch.setattr(torch_graph, "SMALL_BYTES", 0)
    return log


def run(path: Path, engine: Backend, seed: int = 1) -> Graph:
    graph = engine.load(path)
    fill(graph, seed)
    graph.run()
    return graph


def test_it_is_what_onnx_runtime_computes(folder: Path) -> None:
    wanted, found = (run(folder / "small.onnx", engine).outputs["logits"] for engine in (ort.Engine(), Engine()))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_input_gives_the_same_bits(folder: Path, threads: int) -> None:
    cores = torch.get_num_threads()
    graph = run(folder / "small.onnx", Engine(threads))
    first = graph.outputs["logits"].copy()
    fill(graph, 2)
    graph.run()
    assert np.abs(graph.outputs["logits"] - first).max() > 1e-3
    fill(graph, 1)
    graph.run()
    assert graph.outputs["logits"].tobytes() == first.tobytes()
    assert torch.get_num_threads() == cores


def test_weights_that_do_not_fit_are_read_whenever_they_are_used(folder: Path, reads: list[int]) -> None:
    path = folder / "small.onnx"
    beside = [t for t in onnx.load(path, load_external_data=False).graph.initializer if t.external_data]
    total = sum(t.size * t.itemsize for t in map(numpy_helper.to_array, onnx.load(path).graph.initializer))
    kept = run(path, Engine(budget=total))
    assert len(reads) == len(beside)
    kept.run()
    assert len(reads) == len(beside)
    reads.clear()
    streamed = run(path, Engine(budget=total - 1))
    once = Counter(reads)
    assert once.keys() == {MIX_BYTES, TABLE_BYTES, PATCHES_BYTES}
    assert once[TABLE_BYTES] >= 2
    streamed.run()
    assert Counter(reads) == once + once
    assert streamed.outputs["logits"].tobytes() == kept.outputs["logits"].tobytes()


def test_the_budget_is_for_all_graphs_together(folder: Path, reads: list[int]) -> None:
    path = folder / "small.onnx"
    total = sum(t.size * t.itemsize for t in map(numpy_helper.to_array, onnx.load(path).graph.initializer))
    engine = Engine(budget=2 * total - 1)
    first, second = engine.load(path), engine.load(path)
    reads.clear()
    first.run()
    assert reads == []
    second.run()
    assert TABLE_BYTES in reads


def test_small_weights_are_kept_and_those_inside_of_the_graph(folder: Path, tmp_path: Path, reads: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_graph, "SMALL_BYTES", TABLE_BYTES)
        graph = run(folder / "small.onnx", Engine(budget=0))
        reads.clear()
        graph.run()
        assert set(reads) == {TABLE_BYTES, PATCHES_BYTES}
    onnx.save(onnx.load(folder / "small.onnx"), tmp_path / "inside.onnx")
    reads.clear()
    inside = run(tmp_path / "inside.onnx", Engine(budget=0))
    assert reads == []
    assert inside.outputs["logits"].tobytes() == graph.outputs["logits"].tobytes()


class Watch(Tap):
    """How many values are alive at once, and which weights."""

    def __init__(self) -> None:
        self.alive: set[int] = set()
        self.most = 0
        self.seen: list[str] = []

    def _watch(self, tensors: list[Tensor | None]) -> None:
        for tensor in tensors:
            if tensor is not None and id(tensor) not in self.alive:
                self.alive.add(id(tensor))
                weakref.finalize(tensor, self.alive.discard, id(tensor))
        self.most = max(self.most, len(self.alive))

    def before(self, node: onnx.NodeProto, inputs: list[Tensor | None]) -> list[Tensor | None]:
        self._watch(inputs)
        return inputs

    def after(self, node: onnx.NodeProto, outputs: list[Tensor]) -> None:
        self._watch(list(outputs))
        self.seen.append(node.op_type)


def test_a_value_is_dropped_after_its_last_use(tmp_path: Path) -> None:
    """A row of 20 additions holds two or three values; the last of them needs the first input too."""
    shape, last = (FLOAT, [2]), 20
    nodes = [node("Add", f"v{i}", "x", out=f"v{i + 1}") for i in range(1, last)]
    nodes = [node("Neg", "x", out="v1"), node("Neg", "v1", out="unused"), *nodes]
    watch = Watch()
    graph = Engine(tap=lambda stem: watch).load(write(tmp_path / "r.onnx", nodes, {"x": shape}, {f"v{last}": shape}))
    graph.run()
    assert watch.seen == ["Neg", "Neg", *["Add"] * (last - 1)]
    assert watch.most == 3, "x, v of i and v of i + 1"
    assert len(watch.alive) <= 1, "x alone"


def test_streamed_weights_are_let_go_after_their_node(folder: Path, reads: list[int]) -> None:
    held, streamed = Watch(), Watch()
    graphs = [
        run(folder / "small.onnx", Engine(tap=lambda stem: held)),
        run(folder / "small.onnx", Engine(budget=0, tap=lambda stem: streamed)),
    ]
    assert streamed.most < held.most
    assert len(held.alive) - len(streamed.alive) >= 3, "the large ones at least"
    assert len(graphs) == 2


def test_a_tap_sees_every_node_and_its_graph(folder: Path, tmp_path: Path) -> None:
    stems: list[str] = []
    taken: list[tuple[str, int]] = []
    made: dict[str, Tensor] = {}

    class Log(Tap):
        def before(self, node: onnx.NodeProto, inputs: list[Tensor | None]) -> list[Tensor | None]:
            assert len(inputs) == len(node.input)
            taken.append((node.name, len(inputs)))
            return inputs

        def after(self, node: onnx.NodeProto, outputs: list[Tensor]) -> None:
            made.update(zip(node.output, outputs, strict=True))

    def tap(stem: str) -> Tap | None:
        stems.append(stem)
        return Log() if stem == "small" else None

    engine = Engine(tap=tap)
    (tmp_path / "other.onnx").write_bytes((folder / "small.onnx").read_bytes())
    (tmp_path / "small.onnx.data").write_bytes((folder / "small.onnx.data").read_bytes())
    graph, other = run(folder / "small.onnx", engine), run(tmp_path / "other.onnx", engine)
    nodes = onnx.load(folder / "small.onnx", load_external_data=False).graph.node
    assert stems == ["small", "other"]
    assert taken == [(node.name, len(node.input)) for node in nodes]
    assert made.keys() == {name for node in nodes for name in node.output}
    assert np.array_equal(made["logits"].numpy(), graph.outputs["logits"])
    assert np.array_equal(other.outputs["logits"], graph.outputs["logits"])


def test_a_tap_replaces_an_input(tmp_path: Path) -> None:
    """x + x, and twice that: where the second addition takes 10 for its first y, it gives y + 10. x itself stays."""

    class Ten(Tap):
        def before(self, node: onnx.NodeProto, inputs: list[Tensor | None]) -> list[Tensor | None]:
            return [torch.full_like(inputs[0], 10.0), *inputs[1:]] if node.output[0] == "twice" else inputs

    shape = (FLOAT, [2])
    nodes = [node("Add", "x", "x", out="y"), node("Add", "y", "y", out="twice")]
    path = write(tmp_path / "t.onnx", nodes, {"x": shape}, {"y": shape, "twice": shape})
    graph = Engine(tap=lambda stem: Ten()).load(path)
    graph.inputs["x"][:] = [1, 2]
    graph.run()
    assert (graph.outputs["y"].tolist(), graph.outputs["twice"].tolist()) == ([2, 4], [12, 14])


def test_a_tap_cannot_change_a_type(tmp_path: Path) -> None:
    class Half(Tap):
        def before(self, node: onnx.NodeProto, inputs: list[Tensor | None]) -> list[Tensor | None]:
            return [None if x is None else x.half() for x in inputs]

    path = write(tmp_path / "n.onnx", [node("Neg", "x", out="y")], {"x": (FLOAT, [3])}, {"y": (FLOAT, [3])})
    with pytest.raises(BackendError, match=r"Neg y gave float16 \[3\], the graph says float32 \[3\]"):
        Engine(tap=lambda stem: Half()).load(path).run()


def halved(path: Path, out: Path, kind: int) -> Path:
    """The graph of `path` with every weight and value of real numbers in `kind`, and casts at both ends."""
    model = onnx.load(path)
    model.opset_import[0].version = 22  # the first that has Conv of bfloat16
    graph, dtype = model.graph, helper.tensor_dtype_to_np_dtype(kind)
    graph.ClearField("value_info")
    for tensor in graph.initializer:
        if tensor.data_type == FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(dtype), tensor.name))
    ends = [value.name for value in (*graph.input, *graph.output) if value.type.tensor_type.elem_type == FLOAT]
    for made in graph.node:
        for names in (made.input, made.output):
            names[:] = [f"{name}_half" if name in ends else name for name in names]
    for value in graph.input:
        if value.name in ends:
            graph.node.insert(0, node("Cast", value.name, out=f"{value.name}_half", to=kind))
    for value in graph.output:
        graph.node.append(node("Cast", f"{value.name}_half", out=value.name, to=FLOAT))
    onnx.save(model, out)
    return out


@pytest.mark.parametrize(("kind", "dtype"), [(BF16, torch.bfloat16), (F16, torch.float16)], ids=["bf16", "f16"])
def test_a_whole_graph_in_a_half_type_is_the_module_in_it(
    folder: Path, tmp_path: Path, kind: int, dtype: torch.dtype
) -> None:
    kinds: set[torch.dtype] = set()

    class Kinds(Tap):
        def after(self, node: onnx.NodeProto, outputs: list[Tensor]) -> None:
            kinds.update(x.dtype for x in outputs if x.is_floating_point())

    path = halved(folder / "small.onnx", tmp_path / "half.onnx", kind)
    graph = run(path, Engine(tap=lambda stem: Kinds()))
    assert kinds == {dtype, torch.float32}
    inputs = [torch.from_numpy(x) for x in graph.inputs.values()]
    with torch.no_grad():
        exact = small()(*inputs).numpy()
        wanted = small().to(dtype)(*(x.to(dtype) if x.is_floating_point() else x for x in inputs)).float().numpy()
    found, eps = graph.outputs["logits"], torch.finfo(dtype).eps
    assert np.abs(found - wanted).max() <= 2 * eps * np.abs(wanted).max(), "other roundings of sums, at the most"
    assert np.abs(found - exact).max() > eps / 8
    streamed = run(path, Engine(budget=0))
    assert streamed.outputs["logits"].tobytes() == found.tobytes()


def test_bad_data_beside_the_graph_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    for name in ("small.onnx", "small.onnx.data"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    data = tmp_path / "small.onnx.data"
    data.write_bytes(data.read_bytes()[:-1])
    for words in ("which has ", "which is not there"):
        with pytest.raises(BackendError, match=words) as caught:
            Engine().load(tmp_path / "small.onnx")
        assert "\n" not in str(caught.value)
        data.unlink(missing_ok=True)


def test_every_cut_of_a_file_is_one_line_or_a_graph(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "small.onnx").read_bytes()
    (tmp_path / "small.onnx.data").write_bytes((folder / "small.onnx.data").read_bytes())
    path, refused = tmp_path / "small.onnx", 0
    for cut in range(0, len(whole), 97):
        path.write_bytes(whole[:cut])
        try:
            Engine().load(path)
        except BackendError as error:
            refused += "\n" not in str(error)
    assert refused >= len(range(0, len(whole), 97)) - 2


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=5))
def test_whatever_its_bytes_are_it_runs_or_it_is_one_line(
    folder: Path, tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    data = bytearray((folder / "small.onnx").read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    (tmp_path / "small.onnx").write_bytes(data)
    (tmp_path / "small.onnx.data").write_bytes((folder / "small.onnx.data").read_bytes())
    said = ""
    try:
        Engine().load(tmp_path / "small.onnx").run()
    except BackendError as error:
        said = str(error)
    assert "\n" not in said
