"""Every operator in PyTorch against ONNX Runtime, with odd attributes; then each of them in half types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edge_runtime.errors import BackendError
from export.torch_graph import Engine
from export.torch_ops import HALF, OPS, Op
from tests.export.onnx_case import Array, Case, by_ort, by_torch

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


def real(*shape: int, seed: int = 0, scale: float = 1.0) -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def positive(*shape: int) -> Array:
    return np.abs(real(*shape)) + np.float32(0.1)


def whole(*values: int) -> Array:
    return np.array(values, np.int64)


def one(value: float) -> Array:
    return np.array(value, np.float32)


def case(op: str, *inputs: Any, fixed: tuple[int, ...] = (), outputs: int = 1, opset: int = 20, **told: Any) -> Case:
    return Case(op, inputs, told, fixed, outputs, opset)


def int4(values: Array) -> onnx.TensorProto:
    return helper.make_tensor("w", TensorProto.INT4, values.shape, values.ravel().tolist())


X, Y, Z = real(2, 3, 4), real(2, 3, 4, seed=1), real(3, 1, seed=2)
HALVES = np.array([[0.5, 1.5, 2.5, -0.5], [-1.5, -2.5, 1e9, -1e9]], np.float32)
"""Ties, and what does not fit into eight bits."""
N = np.arange(-6, 6, dtype=np.int64).reshape(3, 4)
BYTES = np.random.default_rng(3).integers(-128, 128, (4, 6)).astype(np.int8)
NIBBLES = np.random.default_rng(4).integers(-8, 8, (5, 6))
YES, NO = X > 0, Y > 0
IMAGE, KERNEL, UP = real(1, 4, 7, 9), real(6, 2, 3, 2, seed=1), real(4, 3, 3, 2, seed=1)

CASES = (
    *(case(op, X) for op in ("Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "Neg", "Relu", "Sigmoid", "Sin", "Tanh")),
    *(case(op, N) for op in ("Abs", "Neg")),
    *(case(op, positive(2, 5)) for op in ("Log", "Reciprocal", "Sqrt")),
    case("Round", np.array([0.5, 1.5, 2.5, -0.5, -1.5, 2.4, 2.6], np.float32)),
    *(case(op, X, Z) for op in ("Add", "Sub", "Mul", "Div", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")),
    *(case(op, N, whole(2, -3, 4, -5)) for op in ("Add", "Sub", "Mul", "Div", "Less", "Equal", "Greater")),
    case("Div", N.astype(np.int32), np.array([3, -3, 2, -2], np.int32)),
    case("Equal", X, np.where(YES, X, Y)),
    *(case(op, YES, NO) for op in ("And", "Or", "Equal")),
    case("Not", YES),
    case("Pow", positive(2, 3), real(3)),
    case("Pow", X, whole(2)),
    case("Pow", N, whole(3)),
    case("Pow", N, one(2.0)),
    *(case(op, X, Z, real(4)) for op in ("Max", "Min")),
    *(case(op, X) for op in ("Max", "Min")),
    case("Max", N, whole(0, 1, 2, 3)),
    case("Clip", X, one(-0.5), one(0.25)),
    case("Clip", X, None, one(0.25)),
    case("Clip", X, one(0.5)),
    case("Clip", X, one(1.0), one(-1.0)),
    case("Clip", N, np.array(-2), np.array(3)),
    case("Gelu", X, approximate="none"),
    case("Gelu", X, approximate="tanh"),
    case("Gelu", X),
    *(case("Softmax", X * 9, axis=axis) for axis in (-1, 0, 1)),
    case("Softmax", X),
    case("LayerNormalization", X, real(4), real(4, seed=1), axis=-1, epsilon=1e-3),
    case("LayerNormalization", X, real(3, 4), axis=1),
    case("LayerNormalization", X, real(4), real(4, seed=1)),
    case("CumSum", X, np.array(1), fixed=(1,)),
    case("CumSum", X, np.array(-1), fixed=(1,), exclusive=1),
    case("CumSum", N, np.array(0), fixed=(1,), reverse=1),
    case("CumSum", N, np.array(1), fixed=(1,), reverse=1, exclusive=1),
    case("CumSum", N.astype(np.int32), np.array(1), fixed=(1,)),
    *(
        case(op, X, axes, fixed=(1,), **told)
        for op in ("ReduceMax", "ReduceMean", "ReduceSum")
        for axes, told in ((whole(-1), {}), (whole(0, 2), {"keepdims": 0}), (whole(1), {"keepdims": 0}))
    ),
    *(
        case(op, X, **told)
        for op in ("ReduceMax", "ReduceMean", "ReduceSum")
        for told in ({}, {"keepdims": 0}, {"noop_with_empty_axes": 1})
    ),
    case("ReduceMax", N, whole(1), fixed=(1,)),
    case("ReduceSum", N.astype(np.int32), whole(1), fixed=(1,)),
    case("MatMul", X, real(4, 5)),
    case("MatMul", real(2, 1, 3, 4), real(5, 4, 2)),
    case("MatMul", X, real(4)),
    case("MatMul", real(4), real(2, 4, 3)),
    case("MatMul", N, N.T.copy()),
    case("Gemm", real(3, 4), real(4, 5)),
    case("Gemm", real(4, 3), real(5, 4), real(5), transA=1, transB=1, alpha=0.5, beta=-2.0),
    case("Gemm", real(3, 4), real(5, 4), real(3, 1), transB=1, beta=0.25),
    case("Gemm", real(3, 4), real(4, 5), one(2.0), alpha=3.0),
    case("Einsum", X, Y, equation="bij,bkj->bik"),
    case("Einsum", X, real(4, 5), equation="... i, i j"),
    case("Einsum", X, equation="ijk->ki"),
    case("Einsum", real(3, 3), equation="ii"),
    case("Conv", IMAGE, real(5, 4, 3, 2), real(5)),
    case("Conv", IMAGE, KERNEL, group=2, strides=[2, 1], dilations=[1, 3], pads=[0, 1, 2, 3], kernel_shape=[3, 2]),
    case("Conv", real(2, 4, 9), real(3, 4, 4), strides=[3], pads=[2, 0]),
    case("Conv", real(1, 2, 4, 5, 6), real(3, 2, 2, 3, 1), pads=[1, 0, 0, 0, 1, 2]),
    case("ConvTranspose", IMAGE, UP, real(3), strides=[2, 3], pads=[1, 0, 2, 1], output_padding=[1, 2]),
    case("ConvTranspose", IMAGE, UP, group=2, dilations=[2, 1], kernel_shape=[3, 2]),
    case("ConvTranspose", real(1, 2, 5), real(2, 3, 4), strides=[2], pads=[1, 1], auto_pad="NOTSET"),
    *(
        case("Cast", X * 5, to=to)
        for to in (TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.FLOAT16)
    ),
    case("Cast", np.array([0.0, -0.0, 1e-30, np.nan, np.inf], np.float32), to=TensorProto.BOOL),
    case(
        "Cast", np.array([65504, 65519.9, 65520, 1e9, 1 + 2**-11, 1 + 3 * 2**-11], np.float32), to=TensorProto.FLOAT16
    ),
    case("Cast", N, to=TensorProto.FLOAT),
    case("Cast", YES, to=TensorProto.FLOAT),
    case("Cast", np.arange(256, dtype=np.uint8), to=TensorProto.FLOAT),
    case("Cast", np.arange(-8, 8), to=TensorProto.INT8),
    case("QuantizeLinear", HALVES, one(1.0), np.array(0, np.int8)),
    case("QuantizeLinear", X * 90, np.array([0.5, 1.0, 2.0], np.float32), np.array([-3, 0, 7], np.int8)),
    case("QuantizeLinear", X * 90, np.array([0.5, 2.0], np.float32), np.array([3, 200], np.uint8), axis=-3),
    case("QuantizeLinear", HALVES, one(0.7)),
    case("QuantizeLinear", X, one(0.1), opset=21, output_dtype=TensorProto.INT8),
    case("QuantizeLinear", real(5, 4) * 9, real(3, 4) + 3, np.ones((3, 4), np.int8), axis=0, block_size=2, opset=21),
    case("DequantizeLinear", BYTES, one(0.3), np.array(-7, np.int8)),
    case("DequantizeLinear", BYTES, np.array([0.3], np.float32)),
    case("DequantizeLinear", BYTES, positive(6), np.arange(6, dtype=np.int8)),
    case("DequantizeLinear", BYTES, positive(4), axis=0),
    case("DequantizeLinear", BYTES.view(np.uint8), positive(4), np.full(4, 128, np.uint8), axis=-2),
    case("DequantizeLinear", BYTES.astype(np.int32), one(0.3)),
    case("DequantizeLinear", int4(NIBBLES), real(3, 6), fixed=(0,), axis=0, block_size=2, opset=21),
    case("DequantizeLinear", int4(NIBBLES), real(5, 2), int4(NIBBLES[:, :2]), fixed=(0, 2), block_size=3, opset=21),
    case("DequantizeLinear", BYTES, real(4, 2), block_size=4, opset=21),
    case("Concat", X, Y, real(2, 3, 1), axis=-1),
    case("Concat", N, N[:1], axis=0),
    case("Constant", value=helper.make_tensor("c", TensorProto.FLOAT16, [2, 2], [1, 2, 3, 4])),
    case("Constant", value_float=1.5),
    case("Constant", value_floats=[1.5, 2.5]),
    case("Constant", value_int=-7),
    case("Constant", value_ints=[1, 2, 3]),
    case("Expand", Z, whole(2, 3, 4), fixed=(1,)),
    case("Expand", X, whole(3, 1), fixed=(1,)),
    case("Expand", X, whole(5, 1, 1, 1), fixed=(1,)),
    case("Gather", X, np.array([[0, -1], [2, -3]]), axis=1),
    case("Gather", X, np.array(-1), axis=-1),
    case("Gather", N, np.array([0, 2], np.int32)),
    case("GatherElements", X, np.array([[[0, -1, 2, -3]]]), axis=1),
    case("GatherElements", N, np.array([[0, -1, 2, 1], [1, 1, 1, -2]])),
    case("Identity", X),
    case("Pad", X, whole(1, 0, 2, 0, 3, 0), one(7.5), fixed=(1,)),
    case("Pad", X, whole(2, -1), None, whole(-1), fixed=(1, 3)),
    case("Pad", X, whole(1, 2, 0, 3), one(-1.0), whole(2, 0), fixed=(1, 3)),
    case("Pad", N, whole(1, 1, 1, 1), np.array(9), fixed=(1,)),
    case("Pad", YES, whole(0, 0, 1, 0, 0, 1), np.array(True), fixed=(1,)),
    case("Pad", X, whole(1, 2, 3, 1, 0, 2), fixed=(1,), mode="reflect"),
    case("Pad", X, whole(1, 2, 5, 0, 4, 2), fixed=(1,), mode="edge"),
    case("Pad", X, whole(2, 1, 3, 1, 2, 3), fixed=(1,), mode="wrap"),
    case("Reshape", X, whole(0, -1), fixed=(1,)),
    case("Reshape", X, whole(4, 0, 2), fixed=(1,)),
    case("Reshape", real(0, 3), whole(3, 0), fixed=(1,), allowzero=1),
    case("Slice", X, whole(1), whole(INT64_MAX), whole(-1), fixed=(1, 2, 3)),
    case("Slice", X, whole(-1, 0), whole(INT64_MIN, 1), whole(2, 0), whole(-2, 1), fixed=(1, 2, 3, 4)),
    case("Slice", N, whole(0, 1), whole(9, -1), fixed=(1, 2)),
    case("Split", X, outputs=3, axis=-1, num_outputs=3),
    case("Split", X, whole(1, 0, 3), fixed=(1,), outputs=3, axis=2),
    case("Split", N, outputs=2, num_outputs=2),
    case("Squeeze", real(1, 3, 1), whole(-1), fixed=(1,)),
    case("Squeeze", real(1, 3, 1)),
    case("Tile", X, whole(1, 3, 2), fixed=(1,)),
    case("Transpose", X),
    case("Transpose", X, perm=[1, 2, 0]),
    case("Unsqueeze", X, whole(-1, 0, 2), fixed=(1,)),
    case("Where", YES, X, Y),
    case("Where", np.array([[True], [False], [True]]), N, np.array(0)),
)


def named(cases: tuple[Case, ...]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[f"{i}-{c}" for i, c in enumerate(cases)])


def test_every_operator_has_a_case() -> None:
    assert {c.op for c in CASES} == set(OPS)


@named(CASES)
def test_it_is_what_onnx_runtime_computes(case: Case, tmp_path: Path) -> None:
    for found, wanted in zip(by_torch(case, tmp_path), by_ort(case), strict=True):
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        if np.issubdtype(wanted.dtype, np.floating):
            np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-6)
        else:
            np.testing.assert_array_equal(found, wanted)


REAL = tuple(
    c
    for c in CASES
    if c.inputs and getattr(c.inputs[0], "dtype", None) == np.float32 and c.op not in ("Cast", "QuantizeLinear")
)


@pytest.mark.parametrize(
    ("half", "case"),
    [
        pytest.param(half, c, id=f"{np.dtype(half)}-{i}-{c}")
        for half in (np.float16, ml_dtypes.bfloat16)
        for i, c in enumerate(REAL)
        if c.op != "Einsum" or half == np.float16  # ONNX has none of bfloat16
    ],
)
def test_in_half_types_it_is_the_same_rounded_once(case: Case, half: Any, tmp_path: Path) -> None:
    """ONNX Runtime's float32 for the same inputs. Where that is next to a tie, it may be the other neighbour."""
    rounded = tuple(
        x.astype(half).astype(np.float32) if getattr(x, "dtype", None) == np.float32 else x for x in case.inputs
    )
    case = Case(case.op, rounded, case.attributes, case.fixed, case.outputs, max(case.opset, 22))
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(half))
    for found, wide in zip(by_torch(case, tmp_path, kind), by_ort(case), strict=True):
        wanted = wide.astype(half).astype(np.float32) if wide.dtype == np.float32 else wide
        assert found.dtype == wanted.dtype
        off = found != wanted
        assert off.sum() <= 0.02 * off.size
        if off.any():
            ulp = np.abs(wanted[off]) * float(ml_dtypes.finfo(half).eps)
            assert (np.abs(found[off] - wanted[off]) <= ulp).all()


@pytest.mark.parametrize("half", sorted(HALF, key=str), ids=str)
def test_every_number_of_a_half_type(half: torch.dtype) -> None:
    """Of one value or of two, the result is that of float32, rounded once."""
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(half)
    other = every.flip(0)[torch.randperm(1 << 16, generator=torch.Generator().manual_seed(0))]
    unary = ("Cos", "Erf", "Exp", "Gelu", "Log", "Neg", "Reciprocal", "Relu", "Round", "Sigmoid", "Sin", "Sqrt", "Tanh")

    def same(op: Op, *inputs: torch.Tensor) -> bool:
        found, wanted = op(*inputs), op(*(x.float() for x in inputs)).to(half)
        return found.dtype == half and torch.equal(found.nan_to_num(7.0), wanted.nan_to_num(7.0))

    assert [op for op in unary if not same(OPS[op], every)] == []
    binary = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow")
    assert [op for op in binary if not same(OPS[op], every, other)] == []


@pytest.mark.parametrize("half", sorted(HALF, key=str), ids=str)
@pytest.mark.parametrize("depth", [64, 1000, 4097])
def test_a_product_of_half_types_is_added_up_in_float32(half: torch.dtype, depth: int) -> None:
    """Rounded once, it is what float64 gives: but for ties, and sums near zero, where float32 itself is not exact."""
    random = torch.Generator().manual_seed(depth)
    a, b = torch.randn(33, depth, generator=random).to(half), torch.randn(depth, 17, generator=random).to(half)
    exact = a.double() @ b.double()
    found = OPS["MatMul"](a, b)
    assert (found != exact.to(half)).double().mean() < 0.01
    slack = torch.finfo(half).eps / 2 * exact.abs() + 1e-6 * depth**0.5 * 4
    assert ((found.double() - exact).abs() <= slack).all()


def test_float16_overflows(tmp_path: Path) -> None:
    """[1, 300] of 300 times itself is 27,000,000; bfloat16 has 206 · 2^17. What cancels out in a sum does not count."""
    x = np.full((1, 300), 300, np.float32)
    assert by_torch(case("MatMul", x, x.T.copy()), tmp_path, TensorProto.FLOAT16)[0] == np.inf
    assert by_torch(case("MatMul", x, x.T.copy()), tmp_path, TensorProto.BFLOAT16)[0] == 206 * 2**17
    assert by_torch(case("MatMul", x[:, :1], x[:, :1]), tmp_path, TensorProto.FLOAT16)[0] == np.inf
    minus = np.array([[1.0], [-1.0]] * 150, np.float32) * 300
    assert by_torch(case("MatMul", x, minus), tmp_path, TensorProto.FLOAT16)[0] == 0


def test_bfloat16_rounds_to_nearest_even(tmp_path: Path) -> None:
    """Eight bits: 1 + 1/256 is half way to 1 + 1/128 and goes to the even 1; 1 + 3/256 goes up."""
    x = np.array([1.0, 1 + 1 / 128, 1 + 2 / 128, 3.0], np.float32)
    y = np.array([1 / 256, 1 / 256, 1 / 512, 1 / 256], np.float32)
    (found,) = by_torch(case("Add", x, y), tmp_path, TensorProto.BFLOAT16)
    assert found.tolist() == [1.0, 1 + 2 / 128, 1 + 2 / 128, 3.0]


FLOAT8 = TensorProto.FLOAT8E4M3FN
EIGHTS = np.array([0, 0.3, 1.0625, 1.1875, 447, 449, 464, 1e9, -1e9, 2**-9, 2**-10, 3 * 2**-10, np.inf], np.float32)


def test_float8_rounds_to_nearest_even_and_saturates(tmp_path: Path) -> None:
    """Four bits: 1.0625 is half way between 1 and 1.125, 1.1875 between that and 1.25; the largest number is 448."""
    wanted = [0, 0.3125, 1.0, 1.25, 448, 448, 448, 448, -448, 2**-9, 0, 2**-8, 448]
    zero = helper.make_tensor("z", FLOAT8, [], [0.0])
    for scale in (1.0, 2.0):
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
            helper.make_node("Cast", ["x"], ["c"], to=FLOAT8),
            helper.make_node("Cast", ["c"], ["d"], to=TensorProto.FLOAT),
        ]
        side = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [len(EIGHTS)]) for n in ("x", "y", "d")]
        weights = [zero, helper.make_tensor("s", TensorProto.FLOAT, [], [scale])]
        graph = helper.make_graph(nodes, "g", side[:1], side[1:], weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
        onnx.save(made, tmp_path / "f8.onnx")
        loaded = Engine().load(tmp_path / "f8.onnx")
        loaded.inputs["x"][:] = EIGHTS * scale
        loaded.run()
        assert loaded.outputs["y"].tolist() == [x * scale for x in wanted]
        if scale == 1.0:
            assert loaded.outputs["d"].tolist() == wanted


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (case("Conv", IMAGE, real(5, 4, 3, 2), auto_pad="SAME_UPPER"), "auto_pad SAME_UPPER is not supported"),
        (case("Gather", X, whole(3), axis=1), "Gather node failed"),
        (case("Div", N, whole(0)), "Div node failed"),
    ],
)
def test_what_fails_is_one_line(refused: Case, words: str, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=words) as caught:
        by_torch(refused, tmp_path)
    assert "\n" not in str(caught.value)


EXAMPLES = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def numbered(shape: list[int]) -> Array:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def agree(made: Case, folder: Path) -> None:
    for found, wanted in zip(by_torch(made, folder), by_ort(made), strict=True):
        np.testing.assert_array_equal(found, wanted)


@EXAMPLES
@given(SHAPES, st.data())
def test_slice(tmp_path: Path, shape: list[int], data: st.DataObject) -> None:
    rank = len(shape)
    axes = data.draw(st.lists(st.integers(0, rank - 1), unique=True, min_size=1))
    steps = [data.draw(st.sampled_from([1, 2, 3, -1, -2])) for _ in axes]
    ways = [(INT64_MIN, INT64_MAX) if step > 0 else (INT64_MIN,) for step in steps]  # no "to the end" backwards
    starts, ends = ([data.draw(st.integers(-7, 7) | st.sampled_from(far)) for far in ways] for _ in range(2))
    negative = [axis - rank if data.draw(st.booleans()) else axis for axis in axes]
    parts = (whole(*starts), whole(*ends), whole(*negative), whole(*steps))
    agree(case("Slice", numbered(shape), *parts, fixed=(1, 2, 3, 4)), tmp_path)


@EXAMPLES
@given(SHAPES, st.data())
def test_gather(tmp_path: Path, shape: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    size = shape[axis]
    chosen = data.draw(st.lists(st.integers(-size, size - 1), min_size=4, max_size=4))
    form = data.draw(st.sampled_from([(4,), (2, 2), (1, 4), (4, 1, 1)]))
    agree(case("Gather", numbered(shape), np.array(chosen).reshape(form), axis=axis), tmp_path)


@EXAMPLES
@given(SHAPES, st.data())
def test_reshape(tmp_path: Path, shape: list[int], data: st.DataObject) -> None:
    sizes = data.draw(st.permutations(shape))
    kept = [i for i, size in enumerate(sizes) if size == shape[i] and data.draw(st.booleans())]
    told = [0 if i in kept else size for i, size in enumerate(sizes)]
    left = data.draw(st.integers(-1, len(told) - 1))
    told = [-1 if i == left else size for i, size in enumerate(told)]
    agree(case("Reshape", numbered(shape), whole(*told), fixed=(1,)), tmp_path)


@EXAMPLES
@given(SHAPES, st.data())
def test_split(tmp_path: Path, shape: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    size = shape[axis]
    if data.draw(st.booleans()):
        count = data.draw(st.integers(1, size))
        assume(-(-size // count) * (count - 1) < size)  # the last part has something
        agree(case("Split", numbered(shape), outputs=count, axis=axis, num_outputs=count), tmp_path)
        return
    cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=3)))
    parts = np.diff([0, *cuts, size])
    agree(case("Split", numbered(shape), whole(*parts), fixed=(1,), outputs=len(parts), axis=axis), tmp_path)
