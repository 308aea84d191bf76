"""Which products of a graph have weights, which part of the model they belong to, and what they share an input with.

A layer is known by the name of its weight: prefill and decode graphs have the same layers, and one precision each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

PARTS = {
    "model.vision.": "vision",
    "model.featurizer.": "vision",
    "model.fused_featurizer.": "vision",
    "model.language.embed_tokens.": "table",
    "model.language.": "backbone",
    "model.expert.": "expert",
}
"""Prefix of a weight → part. Families name their parts alike (`export/models`)."""
PROJECTIONS = "projections"
"""Every other weight: between vision and language, of state, actions and flow time, heads. Small, and kept in fp32."""
ALL_PARTS = ("vision", "table", "backbone", "expert", PROJECTIONS)
QUANTIZABLE = ("vision", "backbone", "expert")
"""Parts whose layers may be in integers or FP8; the token table is only looked up in."""


def part_of(weight: str) -> str:
    """The part that a weight of this name belongs to."""
    return next((part for prefix, part in PARTS.items() if weight.startswith(prefix)), PROJECTIONS)


@dataclass(frozen=True)
class Layer:
    """One MatMul or Gemm with a constant matrix. `out_axis`: which axis of the weight is the output's channels."""

    name: str
    node: ir.Node
    weight: ir.Value
    out_axis: int

    @property
    def part(self) -> str:
        return part_of(self.name)

    @property
    def x(self) -> ir.Value:
        """What the layer multiplies, channels last."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def width(self) -> int:
        """Input channels."""
        return self.shape[1 - self.out_axis]

    @property
    def shape(self) -> tuple[int, ...]:
        assert self.weight.shape is not None
        return tuple(int(n) for n in self.weight.shape.numpy())


def layers(graph: ir.Graph) -> list[Layer]:
    """The layers of a float32 graph that may be quantized, in its order."""
    return [layer for node in graph if (layer := as_layer(node)) is not None and layer.part in QUANTIZABLE]


def as_layer(node: ir.Node) -> Layer | None:
    """The layer that `node` is, if it is one."""
    if node.op_type not in ("MatMul", "Gemm") or len(node.inputs) < 2:
        return None
    weight = node.inputs[1]
    if weight is None or not weight.is_initializer() or weight.shape is None or len(weight.shape) != 2:
        return None
    if weight.dtype is not ir.DataType.FLOAT or _flag(node, "transA"):
        return None
    return Layer(str(weight.name), node, weight, 0 if _flag(node, "transB") else 1)


def _flag(node: ir.Node, name: str) -> int:
    return node.attributes[name].as_int() if name in node.attributes else 0


def groups(found: Iterable[Layer]) -> list[list[Layer]]:
    """Layers by the value that they read, in order: queries, keys and values of one norm's output, gate and up."""
    by_input: dict[ir.Value, list[Layer]] = {}
    for layer in found:
        by_input.setdefault(layer.x, []).append(layer)
    return list(by_input.values())


def parts_of_nodes(graph: ir.Graph) -> Iterator[tuple[ir.Node, str]]:
    """Every node in order with the part it computes for: its own weight's, or that of the latest weight before it.

    Nodes before every weight belong to the projections.
    """
    latest: dict[ir.Value, tuple[int, str]] = {}
    for order, node in enumerate(graph):
        own = [part_of(str(v.name)) for v in node.inputs if v is not None and _is_weight(v)]
        if own:
            here = (order, own[0])
        else:
            here = max((latest[v] for v in node.inputs if v in latest), default=(-1, PROJECTIONS))
        for output in node.outputs:
            latest[output] = here
        yield node, here[1]


def _is_weight(value: ir.Value) -> bool:
    return value.is_initializer() and str(value.name).startswith("model.")
