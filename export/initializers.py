"""The weights of a traced graph: read, folded and written one after the other, never two large ones in memory."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from export.errors import ExportError
from export.tracing import OPSET

SMALL_BYTES = 1 << 16
"""Up to here a tensor may be written twice, or be larger than what it is computed from."""
INSIDE_BYTES = 1 << 10
"""Up to here a tensor stands in the graph's own file even where others stand beside it: shapes, indices, scalars."""
ALIGNMENT = 4096
"""Of a larger tensor in its file, as the ONNX specification recommends, so that a robot can map it into memory."""
_RANDOM = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli"})

Array = NDArray[Any]


def give_values(graph: ir.Graph, weights: Mapping[str, Callable[[], Tensor]]) -> None:
    """Let every initializer without a value have what its weight reads, whenever it is asked for it."""
    for name, value in graph.initializers.items():
        if value.const_value is None:
            if name not in weights:
                raise ExportError(f"{name}: has no weights; the graph's module was built without them")
            lazily(value, partial(_array, weights[name]))


def fold_constants(graph: ir.Graph) -> None:
    """Replace what is computed from weights alone by its result, which is computed when it is written.

    Otherwise a robot's runtime does it whenever it loads the graph, and holds both: a `Linear` is a product with
    `Transpose(weight)`. Left alone is what would make the file larger: a large weight that others use as well.
    """
    for node in tuple(graph):
        if _foldable(node):
            _fold(graph, node)


def _foldable(node: ir.Node) -> bool:
    inputs = [value for value in node.inputs if value is not None]
    if node.domain or not inputs or len(node.outputs) != 1 or node.op_type in _RANDOM or node.graph is None:
        return False
    if not all(value.const_value is not None and value.is_initializer() for value in inputs):
        return False
    if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()):
        return False
    output = node.outputs[0]
    if output.is_graph_output() or output.dtype is None or output.shape is None or not output.shape.is_static():
        return False
    freed = sum(_nbytes(value) for value in inputs if len(value.uses()) == 1)
    return output.dtype.itemsize * math.prod(output.shape.numpy()) <= max(freed, SMALL_BYTES)


def _fold(graph: ir.Graph, node: ir.Node) -> None:
    """Put an initializer in the place of `node`. It keeps the name of the one weight that it is made of, if it is."""
    output, inputs = node.outputs[0], [value for value in node.inputs if value is not None]
    known = {str(value.name): value.const_value for value in inputs if value.const_value is not None}
    compute = partial(_evaluate, ir.serde.serialize_node(node), known)
    folded = ir.Value(name=output.name, type=output.type, shape=output.shape)
    ir.convenience.replace_all_uses_with(output, folded)
    graph.remove(node, safe=True)
    gone = [value for value in dict.fromkeys(inputs) if not value.uses() and not value.is_graph_output()]
    for value in gone:
        graph.initializers.pop(str(value.name))
    largest = max(gone, key=_nbytes, default=None)
    if largest is not None:
        folded.name = largest.name
    graph.initializers[str(folded.name)] = folded
    lazily(folded, compute)


def _evaluate(node: onnx.NodeProto, inputs: Mapping[str, ir.TensorProtocol]) -> Array:
    """What `node` gives for these inputs."""
    types = [onnx.helper.make_tensor_value_info(n, int(t.dtype), list(t.shape.numpy())) for n, t in inputs.items()]
    result = onnx.helper.make_empty_tensor_value_info(node.output[0])
    graph = onnx.helper.make_graph([node], "constant", types, [result])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    found = next(iter(ReferenceEvaluator(model).run(None, arrays)))
    return torch.from_numpy(found).contiguous().numpy()  # several times as fast as numpy on a transposed matrix


def _array(read: Callable[[], Tensor]) -> Array:
    array: Array = ir.tensor_adapters.TorchTensor(read().detach()).numpy()
    return np.ascontiguousarray(array)


def lazily(value: ir.Value, compute: Callable[[], Array]) -> None:
    """Let `value` have what `compute` returns. It is called anew each time, and nobody keeps what it returned."""
    dtype, shape = value.dtype, value.shape
    assert isinstance(dtype, ir.DataType)
    assert isinstance(shape, ir.Shape)
    value.const_value = ir.LazyTensor(lambda: ir.Tensor(compute(), dtype=dtype), dtype, shape, name=value.name)


def weight_bytes(graph: ir.Graph) -> int:
    """What the initializers of a graph take."""
    return sum(_nbytes(value) for value in graph.initializers.values())


def _nbytes(value: ir.Value) -> int:
    return 0 if value.const_value is None else int(value.const_value.nbytes)


def read_all(graph: ir.Graph) -> None:
    """Read every initializer into memory, for a graph that holds its weights itself."""
    for value in graph.initializers.values():
        if value.const_value is not None:
            value.const_value = ir.Tensor(value.const_value.numpy(), dtype=value.dtype, name=value.name)


def write_beside(graph: ir.Graph, path: Path) -> None:
    """Write all but the small initializers to `path` and let the graph refer to that file, by name."""
    with path.open("wb") as file:
        for value in graph.initializers.values():
            tensor, shape = value.const_value, value.shape
            if tensor is None or shape is None or tensor.nbytes <= INSIDE_BYTES:
                continue
            offset = file.seek(-file.tell() % ALIGNMENT, os.SEEK_CUR)
            file.write(_stored(tensor))
            place = (path.name, offset, tensor.nbytes)
            value.const_value = ir.ExternalTensor(*place, tensor.dtype, shape=shape, name=str(value.name))


def _stored(tensor: ir.TensorProtocol) -> bytes | memoryview:
    """The bytes of a tensor in a file; two int4 share one."""
    if tensor.dtype.bitwidth < 8:
        return tensor.tobytes()
    return np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data
