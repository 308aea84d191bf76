"""Small graphs written by hand, as the rewriting of graphs takes and leaves them, and what they compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.initializers import read_all

Array = NDArray[Any]
Floats = NDArray[np.float32]
node = helper.make_node


def model(
    nodes: list[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, ...]],
    outputs: tuple[str, ...],
    weights: Mapping[str, Array],
) -> ir.Model:
    """A graph of opset 20 with float32 inputs of these shapes (int64 where a name begins with "i")."""
    kinds = {name: TensorProto.INT64 if name.startswith("i") else TensorProto.FLOAT for name in inputs}
    given = [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in inputs.items()]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "by_hand", given, made, constants)
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    inferred = onnx.shape_inference.infer_shapes(whole, strict_mode=True, data_prop=True)
    return ir.serde.deserialize_model(inferred)


def again(whole: ir.Model) -> ir.Model:
    """A copy, its weights in memory."""
    return ir.serde.deserialize_model(ir.serde.serialize_model(whole))


def written(whole: ir.Model) -> onnx.ModelProto:
    """The graph as a file has it, held to the ONNX specification: structure, shapes, and types of every operator."""
    read_all(whole.graph)
    proto = ir.serde.serialize_model(whole)
    onnx.checker.check_model(proto, full_check=True)
    onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    assert list(misfits(proto)) == []
    return proto


def misfits(proto: onnx.ModelProto) -> Iterator[str]:
    """Inputs and outputs of nodes whose type their operator does not take."""
    graph, opset = proto.graph, proto.opset_import[0].version
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.output, *graph.value_info)}
    kinds |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        schema = onnx.defs.get_schema(node.op_type, opset)
        allowed = {c.type_param_str: set(c.allowed_type_strs) for c in schema.type_constraints}
        bound: dict[str, str] = {}
        for formal, names in ((schema.inputs, node.input), (schema.outputs, node.output)):
            for i, name in enumerate(names):
                if name:
                    at = formal[min(i, len(formal) - 1)]
                    kind = f"tensor({TensorProto.DataType.Name(kinds[name]).lower()})"
                    if kind not in allowed.get(at.type_str, {at.type_str}):
                        yield f"{node.op_type} {node.name}: {at.name} is {kind}"
                    if at.is_homogeneous and bound.setdefault(at.type_str, kind) != kind:
                        yield f"{node.op_type} {node.name}: {at.name} is {kind}, not {bound[at.type_str]}"


def run(whole: ir.Model | onnx.ModelProto, feeds: Mapping[str, Array], exact: bool = False) -> list[Array]:
    """What ONNX Runtime computes; `exact`: node by node, nothing fused.

    Fused, int8 products are told to be precise: without VNNI they overflow else.
    """
    proto = whole if isinstance(whole, onnx.ModelProto) else written(whole)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    if exact:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(None, dict(feeds))
    return found


def constants(proto: onnx.ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def only(proto: onnx.ModelProto, op_type: str) -> list[onnx.NodeProto]:
    """The nodes of one operator, in order."""
    return [n for n in proto.graph.node if n.op_type == op_type]


def normal(*shape: int, seed: int = 0) -> Floats:
    return np.asarray(np.random.default_rng([seed, *shape]).standard_normal(shape), np.float32)


def error(found: Array, wanted: Array) -> float:
    """Relative, of all together."""
    difference = found.astype(np.float64) - wanted.astype(np.float64)
    return float(np.linalg.norm(difference) / np.linalg.norm(wanted.astype(np.float64)))
