"""Rewrites a float32 graph in low precision: balance, lower the floats, then quantize layers with explicit Q/DQ.

What comes out is standard ONNX that ONNX Runtime and TensorRT both take: symmetric int8 with per-channel weights and
per-tensor activations and no quantized bias; int4 weights by blocked DequantizeLinear (opset 21); FP8 E4M3 per tensor.
The field's tools do parts of it. ONNX Runtime's `quantize_static` writes the same Q/DQ (a test holds ours to it, scale
by scale) but knows float32 and float16 alone, loads the model whole, and has SmoothQuant only where neural-compressor
is installed; ModelOpt makes int8, FP8 and int4 with AWQ of ONNX files, and loads them whole too. What is here streams:
a weight is read when it is written, one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from calibration.rounding import LEVELS, block_scales, scale_for, to_int4, to_int8
from export.half import FLOAT, NUMPY, converted, drop_unused, lower
from export.layers import Layer, groups, layers

Floats = NDArray[np.float32]
BLOCK = 128
"""Rows of a weight that share an int4 scale."""
INT4_OPSET, INT4_IR = 21, 10
"""The first opset with int4 and blocked DequantizeLinear, and its file format."""
_STORED = {"int8": ir.DataType.INT8, "int4": ir.DataType.INT4, "fp8": ir.DataType.FLOAT8E4M3FN}


@dataclass(frozen=True)
class Recipe:
    """What becomes of a model's layers, by the names of their weights, and of its parts.

    `precision`: layer → int8, int4 or fp8; layers that are not in it stay in floating point. `types`: part → type of
    its floats. `inputs`: layer → magnitude of its (balanced) input that the last level stands for. `factors`: layer →
    [width] what its input is divided by and its weight multiplied with, the same for all that read one input.
    """

    precision: Mapping[str, str]
    types: Mapping[str, ir.DataType] = field(default_factory=dict)
    inputs: Mapping[str, float] = field(default_factory=dict)
    factors: Mapping[str, Floats] = field(default_factory=dict)
    block: int = BLOCK


def quantize(model: ir.Model, recipe: Recipe) -> None:
    """Rewrite `model`, whose floats are float32, as `recipe` says. No weight is read here."""
    graph = model.graph
    found = layers(graph)
    weights = {layer.name: _Weight(layer, recipe.factors.get(layer.name)) for layer in found}
    for group in groups(found):
        factors = recipe.factors.get(group[0].name)
        if factors is not None:
            _divide(graph, group, factors)
            for layer in group:
                weights[layer.name].balance(graph)
    lower(graph, recipe.types)
    activations = _Activations(graph, recipe)
    for layer in found:
        precision = recipe.precision.get(layer.name)
        if precision is not None:
            activations.quantize(layer, precision)
            weights[layer.name].quantize(graph, layer, recipe)
    drop_unused(graph)
    if "int4" in recipe.precision.values():
        model.opset_imports[""], model.ir_version = INT4_OPSET, INT4_IR


def rounded_weight(weight: Floats, layer: Layer, recipe: Recipe) -> Floats:
    """The float32 `weight` of a layer as its levels stand for it."""
    precision, out, factors = recipe.precision[layer.name], layer.out_axis, recipe.factors.get(layer.name)
    f = np.float32(1.0) if factors is None else np.expand_dims(factors, out)
    scales = _weight_scales(weight * f, precision, out, recipe, _float_of(layer, recipe))
    q = _levels(weight * f, scales, precision, out).astype(np.float32)
    if precision == "int8":
        each = np.expand_dims(scales, 1 - out)
    elif precision == "int4":
        each = np.repeat(scales, recipe.block, axis=1 - out)
    else:
        each = scales
    return np.asarray(q * each / f, np.float32)


def rounded_input(x: Floats, layer: Layer, recipe: Recipe) -> Floats:
    """What a layer's input [..., width] becomes by its Q/DQ pair; itself where only weights are quantized."""
    precision, factors = recipe.precision[layer.name], recipe.factors.get(layer.name, np.float32(1.0))
    if precision == "int4":
        return x
    scale = scale_for(recipe.inputs[layer.name], precision, _float_of(layer, recipe))
    y = x / factors / scale
    if precision == "int8":
        rounded = np.clip(np.rint(y), -128.0, 127.0)  # as QuantizeLinear does
    else:
        rounded = _to_fp8(y).astype(np.float32)
    return np.asarray(rounded * scale * factors, np.float32)


def _float_of(layer: Layer, recipe: Recipe) -> type:
    return NUMPY[recipe.types.get(layer.part, FLOAT)]


def may_balance(group: Sequence[Layer]) -> bool:
    """Whether the weights of a group are read by its own nodes alone, once each: else they cannot be scaled."""
    return all(len(layer.weight.uses()) == 1 for layer in group)


def _divide(graph: ir.Graph, group: Sequence[Layer], factors: Floats) -> None:
    """Divide the input of `group` by `factors`: inside the norm that makes it where it is theirs alone, else beside."""
    x = group[0].x
    made_by = x.producer()
    alone = len(x.uses()) == len(group) and not x.is_graph_output()
    inside = _scaling_inputs(made_by) if made_by is not None and alone else ()
    inverse = 1.0 / factors
    if made_by is not None and inside:
        for i in inside:
            value = made_by.inputs[i]
            assert value is not None
            name = f"{group[0].name}.{value.name}"  # norms may share a constant
            scaled = converted(graph, value, name, FLOAT, lambda w: w * inverse)
            made_by.replace_input_with(i, scaled)
        return
    shape = ir.Shape((len(factors),))
    by = ir.Value(name=f"{group[0].name}.balance", type=ir.TensorType(FLOAT), shape=shape)
    by.const_value = ir.Tensor(inverse, name=by.name)
    graph.initializers[str(by.name)] = by
    name = f"{x.name}.balanced"
    node = ir.node("Mul", [x, by], outputs=[ir.Value(name=name, type=ir.TensorType(FLOAT), shape=x.shape)], name=name)
    graph.insert_before(group[0].node, node)
    for layer in group:
        layer.node.replace_input_with(0, node.outputs[0])


def _scaling_inputs(node: ir.Node) -> tuple[int, ...]:
    """Inputs of a node that scale its output channel by channel: constant vectors of that width."""
    width = node.outputs[0].shape[-1] if node.outputs[0].shape is not None else None

    def is_vector(i: int) -> bool:
        value = node.inputs[i] if i < len(node.inputs) else None
        return value is not None and value.is_initializer() and value.shape is not None and list(value.shape) == [width]

    if node.op_type == "LayerNormalization" and all(is_vector(i) for i in range(1, len(node.inputs))):
        return tuple(range(1, len(node.inputs)))
    if node.op_type == "Mul":
        return tuple(i for i in (0, 1) if is_vector(i))[:1]
    return ()


class _Weight:
    """A layer's weight on its way from float32 to its levels, the same for all layers that share it."""

    def __init__(self, layer: Layer, factors: Floats | None) -> None:
        assert layer.weight.const_value is not None
        self._layer, self._value = layer, layer.weight
        self._dequantized: ir.Value | None = None
        self._factors = factors if factors is None or layer.out_axis == 0 else factors[:, None]

    def balance(self, graph: ir.Graph) -> None:
        factors = self._factors
        assert factors is not None
        value, name = self._layer.weight, f"{self._layer.name}.balanced"
        self._value = converted(graph, value, name, FLOAT, lambda w: w * factors)
        self._layer.node.replace_input_with(1, self._value)

    def quantize(self, graph: ir.Graph, layer: Layer, recipe: Recipe) -> None:
        """Put DequantizeLinear of a constant in the place of the weight of `layer`."""
        if self._dequantized is None:
            self._dequantized = self._dequantize(graph, layer, recipe)
        layer.node.replace_input_with(1, self._dequantized)

    def _dequantize(self, graph: ir.Graph, layer: Layer, recipe: Recipe) -> ir.Value:
        precision, block = recipe.precision[layer.name], recipe.block
        value, dtype, shape, out = self._value, _type_of(layer.x), layer.shape, layer.out_axis
        scale_shape: tuple[int, ...] = {
            "int8": (shape[out],),
            "int4": tuple(n if axis == out else n // block for axis, n in enumerate(shape)),
            "fp8": (),
        }[precision]

        def scales(w: Floats) -> Floats:
            return _weight_scales(w, precision, out, recipe, NUMPY[dtype])

        def levels(w: Floats) -> NDArray[Any]:
            return _levels(w, scales(w), precision, out)

        def stored_scales(w: Floats) -> NDArray[Any]:
            return scales(w).astype(NUMPY[dtype])

        q = converted(graph, value, f"{layer.name}.{precision}", _STORED[precision], levels)
        scale = converted(graph, value, f"{layer.name}.scale", dtype, stored_scales, ir.Shape(scale_shape))
        attributes = {"int8": {"axis": out}, "int4": {"axis": 1 - out, "block_size": block}, "fp8": {}}[precision]
        inputs = [q, scale]
        if precision == "int8":  # ONNX Runtime's integer products want to see zeros, and no two of them the same ones
            inputs.append(_constant(graph, f"{layer.name}.zero", ir.DataType.INT8, np.zeros(shape[out])))
        node = ir.node("DequantizeLinear", inputs, attributes)
        return _insert(graph, layer.node, node, f"{layer.name}.{node.op_type}", dtype, layer.weight.shape)


def _weight_scales(weight: Floats, precision: str, out: int, recipe: Recipe, dtype: type) -> Floats:
    if precision == "int4":
        rows = weight if out == 1 else weight.T
        scales = block_scales(rows, recipe.block, dtype)
        return scales if out == 1 else scales.T
    if precision == "int8":
        return scale_for(np.abs(weight).max(axis=1 - out), precision, dtype)
    return scale_for(np.abs(weight).max(), precision, dtype)


def _levels(weight: Floats, scales: Floats, precision: str, out: int) -> NDArray[Any]:
    if precision == "int4":
        q = to_int4(weight, scales) if out == 1 else to_int4(weight.T, scales.T).T
        return np.ascontiguousarray(q).astype(ml_dtypes.int4)
    if precision == "int8":
        return to_int8(weight, np.expand_dims(scales, 1 - out))
    return _to_fp8(weight / scales)


def _to_fp8(x: Floats) -> NDArray[Any]:
    return np.asarray(np.clip(x, -LEVELS["fp8"], LEVELS["fp8"]), ml_dtypes.float8_e4m3fn)


class _Activations:
    """Q/DQ pairs, one for all layers that read the same value at the same scale."""

    def __init__(self, graph: ir.Graph, recipe: Recipe) -> None:
        self._graph, self._recipe = graph, recipe
        self._made: dict[tuple[ir.Value, str, float], ir.Value] = {}
        self._zeros: dict[str, ir.Value] = {}

    def quantize(self, layer: Layer, precision: str) -> None:
        """Put a Q/DQ pair before the layer's input; int4 is of weights alone."""
        if precision == "int4":
            return
        x, largest = layer.x, self._recipe.inputs[layer.name]
        key = (x, precision, largest)
        if key not in self._made:
            self._made[key] = self._pair(layer, precision, largest)
        layer.node.replace_input_with(0, self._made[key])

    def _pair(self, layer: Layer, precision: str, largest: float) -> ir.Value:
        x, dtype = layer.x, _type_of(layer.x)
        content = scale_for(largest, precision, NUMPY[dtype])
        scale = _constant(self._graph, f"{layer.name}.{x.name}.scale", dtype, content)
        if precision not in self._zeros:
            self._zeros[precision] = _constant(self._graph, f"zero.{precision}", _STORED[precision], np.float32(0.0))
        name, shape, zero = f"{layer.name}.{x.name}", x.shape, self._zeros[precision]
        node = ir.node("QuantizeLinear", [x, scale, zero])
        levels = _insert(self._graph, layer.node, node, f"{name}.{node.op_type}", _STORED[precision], shape)
        # Its zero as well: ONNX Runtime moves pairs past a Reshape by what DequantizeLinear has, and falls to uint8.
        node = ir.node("DequantizeLinear", [levels, scale, zero])
        return _insert(self._graph, layer.node, node, f"{name}.{node.op_type}", dtype, shape)


def _type_of(value: ir.Value) -> ir.DataType:
    assert value.dtype is not None
    return value.dtype


def _constant(graph: ir.Graph, name: str, dtype: ir.DataType, content: Any) -> ir.Value:
    array = np.asarray(content).astype(dtype.numpy())
    value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(array.shape))
    value.const_value = ir.Tensor(array, dtype=dtype, name=name)
    graph.initializers[name] = value
    return value


def _insert(
    graph: ir.Graph, at: ir.Node, node: ir.Node, name: str, dtype: ir.DataType, shape: ir.Shape | None
) -> ir.Value:
    """Insert `node` before `at`; its output, of that name, type and shape."""
    output = node.outputs[0]
    node.name = output.name = name
    output.type, output.shape = ir.TensorType(dtype), shape
    graph.insert_before(at, node)
    return output
