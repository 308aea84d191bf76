"""What a robot's backends may not take never leaves the export."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from export.errors import CheckpointError, ExportError
from export.onnx_file import Signature, check_onnx, write_onnx
from export.tracing import OPSET
from tests.export.small import reading, small, small_meta


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
    assert (written.parameters, written.precision, written.bytes, written.flops) == (8, "float32", 32, 12)
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
        ({"nodes": (helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft"),)}, "beyond the standard opset 21"),
        ({"nodes": (RELU,), "opset": 22}, "beyond the standard opset 21"),
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


@pytest.mark.parametrize(
    ("node", "shapes", "flops"),
    [
        (helper.make_node("MatMul", ["a", "b"], ["y"]), ([5, 1, 3, 4], [6, 4, 7]), 2 * 5 * 6 * 3 * 4 * 7),
        (helper.make_node("Gemm", ["a", "b"], ["y"], transB=1), ([3, 4], [7, 4]), 2 * 3 * 4 * 7),
        (helper.make_node("Gemm", ["a", "b"], ["y"], transA=1), ([4, 3], [4, 7]), 2 * 3 * 4 * 7),
        (
            helper.make_node("Conv", ["a", "b"], ["y"], strides=[2, 2]),
            ([1, 3, 6, 8], [5, 3, 2, 2]),
            2 * 3 * 5 * 3 * 4 * 4,
        ),
        (helper.make_node("Conv", ["a", "b"], ["y"], group=4), ([1, 4, 9], [8, 1, 3]), 2 * 8 * 3 * 7),
        (helper.make_node("ConvTranspose", ["a", "b"], ["y"]), ([1, 3, 5], [3, 2, 4]), 2 * 3 * 5 * 2 * 4),
        (helper.make_node("Einsum", ["a", "b"], ["y"], equation="bij, bjk -> bik"), ([2, 3, 4], [2, 4, 5]), 2 * 120),
        (helper.make_node("Add", ["a", "b"], ["y"]), ([3, 4], [3, 4]), 0),
    ],
)
def test_flops(tmp_path: Path, node: onnx.NodeProto, shapes: tuple[list[int], list[int]], flops: int) -> None:
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip("ab", shapes, strict=True)]
    bare = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    model = helper.make_model(bare, opset_imports=[helper.make_opsetid("", 20)])
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.save(inferred, tmp_path / "f.onnx")
    assert check_onnx(tmp_path / "f.onnx").flops == flops


@pytest.mark.parametrize("inline", [10**9, 0])
def test_weights_that_are_read_one_by_one_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inline: int
) -> None:
    monkeypatch.setattr("export.onnx_file.INLINE_BYTES", inline)
    (tmp_path / "whole").mkdir()
    (tmp_path / "read").mkdir()
    whole, empty, log = small(), small_meta(), list[str]()
    one = write_onnx(whole, whole.signature(), tmp_path / "whole" / "x.onnx")
    two = write_onnx(empty, empty.signature(), tmp_path / "read" / "x.onnx", reading(whole, log))
    names = sorted(p.name for p in (tmp_path / "whole").iterdir())
    assert names == (["x.onnx"] if inline else ["x.onnx", "x.onnx.data"])
    assert one == two
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "read" / name).read_bytes()
    assert sorted(log) == sorted([*dict(whole.named_parameters()), "table.weight"]), "the table, and its first rows"


def test_the_file_computes_what_the_module_computes(tmp_path: Path) -> None:
    module, path = small(), tmp_path / "x.onnx"
    write_onnx(small_meta(), module.signature(), path, reading(module))
    inputs = {"tokens": torch.tensor([[3, 0, 39, 7]]), "pixels": torch.randn(1, 3, 8, 8)}
    found = onnxruntime.InferenceSession(path).run(None, {name: t.numpy() for name, t in inputs.items()})
    np.testing.assert_allclose(found[0], module(**inputs).detach().numpy(), rtol=0, atol=1e-5)


def test_nothing_is_left_to_compute_from_weights_alone(tmp_path: Path) -> None:
    module, path = small(), tmp_path / "x.onnx"
    write_onnx(module, module.signature(), path)
    graph = onnx.load(path).graph
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    assert [n.op_type for n in graph.node if all(name in weights for name in n.input)] == []
    assert np.array_equal(weights["mix.weight"], module.mix.weight.detach().numpy().T)
    assert np.array_equal(weights["scale.weight"], 1.0 + module.scale.weight.detach().numpy())
    assert len([w for w in weights.values() if w.size == 40 * 24]) == 1, "the table is read out with as it is"


def test_a_large_weight_is_never_written_twice(tmp_path: Path) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(200, 100))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight @ self.weight.T

    path = tmp_path / "x.onnx"
    assert write_onnx(Twice(), Signature({"x": torch.zeros(1, 5, 200)}, ("y",)), path).parameters == 20000
    assert path.stat().st_size < 100_000


def test_files_beside_are_laid_out_for_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.onnx_file.INLINE_BYTES", 0)
    write_onnx(small(), small().signature(), tmp_path / "x.onnx")
    beside = 0
    for tensor in onnx.load(tmp_path / "x.onnx", load_external_data=False).graph.initializer:
        place = {entry.key: entry.value for entry in tensor.external_data}
        if place:
            assert (place["location"], int(place["offset"]) % 4096) == ("x.onnx.data", 0)
            beside += int(place["length"])
        assert bool(place) == (np.prod(tensor.dims) * 4 > 1024 and tensor.data_type == TensorProto.FLOAT)
    assert beside > 5000


def test_the_module_stays_as_it_is(tmp_path: Path) -> None:
    for module in (small(), small_meta()):
        before = {name: id(p) for name, p in module.named_parameters(remove_duplicate=False)}
        write_onnx(module, module.signature(), tmp_path / "x.onnx", reading(small()))
        with pytest.raises(Exception, match=r"torch\.export"):
            write_onnx(module, Signature({"tokens": torch.zeros(1), "pixels": torch.zeros(1)}, ("y",)), tmp_path / "y")
        assert {name: id(p) for name, p in module.named_parameters(remove_duplicate=False)} == before


def test_a_weight_that_nobody_has_is_named(tmp_path: Path) -> None:
    module, weights = small_meta(), dict(reading(small()))
    del weights["mix.bias"]
    with pytest.raises(ExportError, match=r"mix\.bias: has no weights"):
        write_onnx(module, module.signature(), tmp_path / "x.onnx", weights)
    with torch.device("meta"):
        module.register_buffer("ramp", torch.zeros(24), persistent=False)
    with pytest.raises(ExportError, match="ramp: has no weights"):
        write_onnx(module, module.signature(), tmp_path / "x.onnx", reading(small()))


def test_weights_that_the_graph_does_not_use_are_not_read(tmp_path: Path) -> None:
    def never() -> Tensor:
        raise AssertionError

    module = small_meta()
    with torch.device("meta"):
        module.extra = nn.Linear(3, 3)
    more = {"extra.weight": never, "extra.bias": never, "elsewhere": never}
    assert write_onnx(module, module.signature(), tmp_path / "x.onnx", {**reading(small()), **more}).parameters > 0


def test_what_a_weight_raises_is_what_is_raised(tmp_path: Path) -> None:
    def broken() -> Tensor:
        raise CheckpointError("model.safetensors: mix.weight has values that are not finite")

    module = small_meta()
    with pytest.raises(CheckpointError, match="not finite"):
        write_onnx(module, module.signature(), tmp_path / "x.onnx", {**reading(small()), "mix.weight": broken})


LARGE = """
import sys
from pathlib import Path
import torch
from torch import nn
from export import onnx_file
from export.onnx_file import Signature, write_onnx

onnx_file.INLINE_BYTES = 0

def peak():
    return next(int(l.split()[1]) for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM"))

def write(layers, width, name):
    with torch.device("meta"):
        module = nn.Sequential(*(nn.Linear(width, width) for _ in range(layers)))
    weights = {n: lambda s=p.shape: torch.rand(s) for n, p in module.named_parameters()}
    return write_onnx(module, Signature({"x": torch.zeros(1, 2, width)}, ("y",)), Path(sys.argv[1]) / name, weights)

write(18, 16, "warm.onnx")
before = peak()
written = write(18, 2048, "large.onnx")
print(written.bytes // 1024, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_memory_stays_at_the_largest_weight_and_not_at_their_sum(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(tmp_path)], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    size, more = map(int, done.stdout.split())
    assert size > 295_000  # KiB, 16 MiB each
    assert more < 120_000
    assert (tmp_path / "large.onnx.data").stat().st_size > 302_000_000
