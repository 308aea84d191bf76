"""What operators an ONNX file is made of, read without the onnx package: a robot has none.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import BundleError
from edge_runtime.protobuf import Message

_NAMED = {
    "FP32": (1,),
    "UINT8": (2,),
    "INT8": (3,),
    "INT32": (6,),
    "INT64": (7,),
    "BOOL": (9,),
    "FP16": (10,),
    "DOUBLE": (11,),
    "BF16": (16,),
    "FP8": (17, 18, 19, 20),
    "UINT4": (21,),
    "INT4": (22,),
    "FP4": (23,),
}
ELEMENTS = {number: name for name, numbers in _NAMED.items() for number in numbers}
"""TensorProto.DataType → the name that TensorRT's documents have for it."""

_GRAPH, _OPSETS = 7, 8  # ModelProto
_NODES, _INITIALIZERS, _INPUTS, _OUTPUTS, _VALUES = 1, 5, 11, 12, 13  # GraphProto
_TYPED, _DATA_TYPE, _TENSOR_NAME = 2, 2, 8  # ValueInfoProto.type, TensorProto


@dataclass(frozen=True)
class Node:
    """One operator. `domain` is "" for ONNX's own."""

    op: str
    name: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.op} ({self.name})" if self.name else self.op


@dataclass(frozen=True)
class OnnxGraph:
    """The nodes of a file and of the graphs inside them. `types`: tensor → name of its type, where the file says it.

    `constants` are tensors whose values stand in the file.
    """

    opset: int
    nodes: tuple[Node, ...]
    types: Mapping[str, str]
    constants: frozenset[str]


def read_nodes(path: Path) -> OnnxGraph:
    """Read an ONNX file's structure; its weights are passed over. `BundleError` where it is none."""
    try:
        return _read(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); copy the bundle again") from error
    except ValueError as error:
        raise BundleError(f"{path}: is no ONNX file ({error}); export the bundle again") from error


def _read(data: bytes) -> OnnxGraph:
    model = Message(data)
    opsets = {o.last(1).decode(): o.numbers.get(2, 0) for o in map(Message, model.parts(_OPSETS))}
    graph = model.message(_GRAPH)
    nodes: list[Node] = []
    types: dict[str, str] = {}
    constants: set[str] = set()
    for part in _graphs(graph):
        nodes += map(_node, map(Message, part.parts(_NODES)))
        constants |= _initializers(part, types)
        for field in (_INPUTS, _OUTPUTS, _VALUES):
            types.update(_types(map(Message, part.parts(field))))
    if not nodes or "" not in opsets:
        raise ValueError("it has no operators, or does not say of which version they are")
    constants |= {name for node in nodes if node.op == "Constant" for name in node.outputs}
    return OnnxGraph(opsets[""], tuple(nodes), types, frozenset(constants))


def _graphs(graph: Message) -> Iterator[Message]:
    """`graph` and every graph that stands in an attribute of its nodes, such as the branches of an If."""
    waiting = [graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in map(Message, graph.parts(_NODES)):
            for attribute in map(Message, node.parts(5)):
                waiting += map(Message, (*attribute.parts(6), *attribute.parts(11)))


def _node(node: Message) -> Node:
    op, name, domain = (node.last(field).decode() for field in (4, 3, 7))
    inputs, outputs = (tuple(tensor.decode() for tensor in node.parts(field)) for field in (1, 2))
    return Node(op, name, domain, inputs, outputs)


def _initializers(graph: Message, types: dict[str, str]) -> set[str]:
    tensors = [Message(part) for part in graph.parts(_INITIALIZERS)]
    found = {t.last(_TENSOR_NAME).decode(): t.numbers.get(_DATA_TYPE, 0) for t in tensors}
    types.update({name: ELEMENTS[kind] for name, kind in found.items() if kind in ELEMENTS})
    return set(found)


def _types(values: Iterator[Message]) -> Iterator[tuple[str, str]]:
    """Name and type of every value that is a tensor of a known type."""
    for value in values:
        kind = value.message(_TYPED).message(1).numbers.get(1, 0)
        if kind in ELEMENTS:
            yield value.last(1).decode(), ELEMENTS[kind]
