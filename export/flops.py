"""How much a graph computes: multiplications and additions of its products, two for each pair of factors."""

from __future__ import annotations

import math

import onnx

Shapes = dict[str, tuple[int, ...]]


def count_flops(graph: onnx.GraphProto) -> int:
    """Of MatMul, Gemm, Conv, ConvTranspose and Einsum, given a graph whose shapes are inferred and static."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    return sum(_flops(node, shapes) for node in graph.node)


def _flops(node: onnx.NodeProto, shapes: Shapes) -> int:
    if node.op_type not in _COUNTED:
        return 0
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    factors, out = [shapes[name] for name in node.input], shapes[node.output[0]]
    if node.op_type == "Einsum":
        return 2 * (len(factors) - 1) * _einsum(attributes["equation"].decode(), factors)
    if node.op_type == "Conv":  # weight [out, in / groups, *kernel]
        return 2 * math.prod(out) * math.prod(factors[1][1:])
    if node.op_type == "ConvTranspose":  # weight [in, out / groups, *kernel]
        return 2 * math.prod(factors[0]) * math.prod(factors[1][1:])
    return 2 * math.prod(out) * factors[0][0 if attributes.get("transA") else -1]


def _einsum(equation: str, factors: list[tuple[int, ...]]) -> int:
    """Every combination of indices once, which is what a product costs when it is done as it is written."""
    terms = equation.replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, factors, strict=True):
        sizes.update(zip(term, shape, strict=True))
    return math.prod(sizes.values())


_COUNTED = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum"})
