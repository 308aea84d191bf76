"""Ours beside ONNX Runtime's own quantizers: the same int8 scales and levels, and what differs in int4."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.quant_utils import quantize_nparray

from calibration.ranges import InputRange
from calibration.rounding import scale_for, to_int8
from export.layers import layers
from export.quantize import Recipe, quantize
from tests.export.by_hand import Array, Floats, constants, error, model, node, normal, only, run, written

B = "model.language.layers.0."
SAMPLES = [{"x": normal(6, 16, seed=i)} for i in range(4)]


def chain() -> ir.Model:
    """MatMul, and Gemm with and without transposed weights and bias."""
    nodes = [
        node("MatMul", ["x", B + "a"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", B + "b", B + "bias"], ["g"], transB=1),
        node("Gemm", ["g", B + "c"], ["y"]),
    ]
    shapes: dict[str, tuple[int, ...]] = {"a": (16, 24), "b": (8, 24), "bias": (8,), "c": (8, 5)}
    return model(nodes, {"x": (6, 16)}, ("y",), {B + name: normal(*shape) / 4 for name, shape in shapes.items()})


class Samples(CalibrationDataReader):
    def __init__(self) -> None:
        self._left: Iterator[dict[str, Floats]] = iter(SAMPLES)

    def get_next(self) -> Any:
        return next(self._left, None)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """ONNX Runtime's quantization of the chain, with the settings that TensorRT needs."""
    folder = tmp_path_factory.mktemp("static")
    onnx.save(written(chain()), folder / "float.onnx")
    logging.disable(logging.WARNING)
    quantize_static(
        str(folder / "float.onnx"),
        str(folder / "int8.onnx"),
        Samples(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        reduce_range=False,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
        },
    )
    logging.disable(logging.NOTSET)
    return onnx.load(folder / "int8.onnx")


@pytest.fixture(scope="module")
def ours() -> onnx.ModelProto:
    """Our quantization of it, with what was recorded of the same samples."""
    whole = chain()
    found = layers(whole.graph)
    seen = {layer.name: InputRange(layer.width) for layer in found}
    recorded = model_with_outputs(chain(), [str(layer.x.name) for layer in found])
    for sample in SAMPLES:
        for layer, x in zip(found, run(recorded, sample), strict=True):
            seen[layer.name].add(x)
    inputs = {name: one.maximum() for name, one in seen.items()}
    quantize(whole, Recipe(dict.fromkeys(inputs, "int8"), inputs=inputs))
    return written(whole)


def model_with_outputs(whole: ir.Model, names: list[str]) -> ir.Model:
    values = {str(v.name): v for v in (*whole.graph.inputs, *(o for n in whole.graph for o in n.outputs))}
    whole.graph.outputs[:] = [values[name] for name in names]
    return whole


def products(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [n for n in proto.graph.node if n.op_type in ("MatMul", "Gemm")]


def dequantized(proto: onnx.ModelProto, name: str) -> onnx.NodeProto:
    (found,) = (n for n in only(proto, "DequantizeLinear") if n.output[0] == name)
    return found


def test_the_same_nodes_on_the_same_values(ours: onnx.ModelProto, theirs: onnx.ModelProto) -> None:
    for op_type in ("MatMul", "Gemm", "Relu", "QuantizeLinear", "DequantizeLinear"):
        assert len(only(ours, op_type)) == len(only(theirs, op_type)), op_type
    assert [n.input[0] for n in only(ours, "QuantizeLinear")] == [n.input[0] for n in only(theirs, "QuantizeLinear")]


def test_the_same_levels_and_scales_of_weights(ours: onnx.ModelProto, theirs: onnx.ModelProto) -> None:
    for mine, other in zip(products(ours), products(theirs), strict=True):
        a, b = dequantized(ours, mine.input[1]), dequantized(theirs, other.input[1])
        q, scale = (constants(ours)[name] for name in a.input[:2])
        their_q, their_scale, their_zero = (constants(theirs)[name] for name in b.input)
        assert q.dtype == their_q.dtype == np.int8
        assert np.array_equal(q, their_q)
        np.testing.assert_allclose(scale, their_scale, rtol=2e-7)
        assert not their_zero.any()
        assert [(x.name, x.i) for x in a.attribute] == [(x.name, x.i) for x in b.attribute]


def test_the_same_scales_of_activations(ours: onnx.ModelProto, theirs: onnx.ModelProto) -> None:
    for a, b in zip(only(ours, "QuantizeLinear"), only(theirs, "QuantizeLinear"), strict=True):
        np.testing.assert_allclose(constants(ours)[a.input[1]], constants(theirs)[b.input[1]], rtol=2e-7)
        assert constants(ours)[a.input[2]] == constants(theirs)[b.input[2]] == 0
        assert constants(ours)[a.input[2]].dtype == constants(theirs)[b.input[2]].dtype == np.int8


@pytest.mark.parametrize("exact", [True, False])
def test_the_same_outputs(ours: onnx.ModelProto, theirs: onnx.ModelProto, exact: bool) -> None:
    for sample in [*SAMPLES, {"x": normal(6, 16, seed=99) * 2}]:
        assert error(run(ours, sample, exact)[0], run(theirs, sample, exact)[0]) < 1e-6


def test_our_rounding_is_their_rounding() -> None:
    x = np.concatenate([normal(4000) * 3, np.arange(-130, 130, dtype=np.float32) * np.float32(0.05)])
    scale = scale_for(5.0, "int8", np.float32)
    theirs = quantize_nparray(onnx.TensorProto.INT8, x, scale, np.int8(0), low=-127, high=127)
    assert np.array_equal(to_int8(x, scale), theirs)


@pytest.mark.parametrize("block", [32, 128])
def test_int4_has_their_structure_and_loses_no_more(block: int) -> None:
    """They map the largest magnitude of a block to -8, we to ±7: their step is 7/8 of ours, theirs clips what is +8."""
    quantizers = pytest.importorskip("onnxruntime.quantization.matmul_nbits_quantizer")
    weight, x = normal(256, 48), normal(9, 256)
    single = [node("MatMul", ["x", B + "a"], ["y"])]
    config = quantizers.DefaultWeightOnlyQuantConfig(
        block_size=block, is_symmetric=True, quant_format=QuantFormat.QDQ, op_types_to_quantize=("MatMul",)
    )
    plain = written(model(single, {"x": x.shape}, ("y",), {B + "a": weight}))
    plain.opset_import[0].version, plain.ir_version = 21, 10
    logging.disable(logging.INFO)
    quantizer = quantizers.MatMulNBitsQuantizer(plain, algo_config=config)
    quantizer.process()
    logging.disable(logging.NOTSET)
    theirs: onnx.ModelProto = quantizer.model.model

    whole = model(single, {"x": x.shape}, ("y",), {B + "a": weight})
    quantize(whole, Recipe({B + "a": "int4"}, block=block))
    ours = written(whole)

    rounded: list[Array] = []
    for proto in (ours, theirs):
        assert [n.op_type for n in proto.graph.node] == ["DequantizeLinear", "MatMul"]
        made = proto.graph.node[0]
        assert {a.name: a.i for a in made.attribute} == {"axis": 0, "block_size": block}
        q, scale = (numpy_helper.to_array(t) for name in made.input for t in proto.graph.initializer if t.name == name)
        assert (q.dtype, q.shape) == (np.dtype(ml_dtypes.int4), weight.shape)
        assert (scale.dtype, scale.shape) == (np.dtype(np.float32), (256 // block, 48))
        rounded.append(q.astype(np.float32) * np.repeat(scale, block, axis=0))
        assert np.array_equal(run(proto, {"x": np.eye(256, dtype=np.float32)[:9]}, exact=True)[0], rounded[-1][:9])
    steps = np.abs(weight.reshape(-1, block, 48)).max(axis=1).repeat(block, axis=0)
    assert np.all(np.abs(rounded[0] - weight) <= steps / 7 * 0.50001)
    assert np.all(np.abs(rounded[1] - weight) <= steps / 8 * 1.00001)
    assert error(rounded[0], weight) < 1.2 * error(rounded[1], weight)
    assert error(run(ours, {"x": x})[0], x @ weight) < 1.25 * error(run(theirs, {"x": x})[0], x @ weight)
