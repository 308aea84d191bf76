"""Graphs of one node, written and run: by ONNX Runtime, and by the engine in PyTorch in any type of real numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from export import torch_graph

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """A node by its operator, inputs and attributes. What is in `fixed` is an initializer, None is left out."""

    op: str
    inputs: tuple[Any, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    fixed: Sequence[int] = ()
    outputs: int = 1
    opset: int = 20

    def __str__(self) -> str:
        told = ",".join(f"{k}={v}" for k, v in self.attributes.items() if not isinstance(v, onnx.TensorProto))
        return f"{self.op}({told})"


def model(case: Case, real: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """Its float32 inputs are cast to `real`, and what it gives of that type is cast back."""
    nodes, inputs, weights, names = [], [], [], []
    for i, array in enumerate(case.inputs):
        name = "" if array is None else f"x{i}"
        if array is not None and i in case.fixed:
            weights.append(array if isinstance(array, onnx.TensorProto) else numpy_helper.from_array(array))
            weights[-1].name = name
        elif array is not None:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            inputs.append(helper.make_tensor_value_info(name, kind, array.shape))
        if name and real != TensorProto.FLOAT and getattr(array, "dtype", None) == np.float32:
            nodes.append(helper.make_node("Cast", [name], [f"{name}_real"], to=real))
            name = f"{name}_real"
        names.append(name)
    made = [f"y{i}" for i in range(case.outputs)]
    nodes.append(helper.make_node(case.op, names, made, name="node", **case.attributes))
    known = _inferred(nodes, inputs, made, weights, case.opset)
    for i, value in enumerate(known.graph.output):
        if value.type.tensor_type.elem_type == real != TensorProto.FLOAT:
            nodes.append(helper.make_node("Cast", [value.name], [f"wide{i}"], to=TensorProto.FLOAT))
            made[i] = f"wide{i}"
    return _inferred(nodes, inputs, made, weights, case.opset)


def _inferred(nodes: Any, inputs: Any, outputs: list[str], weights: Any, opset: int) -> onnx.ModelProto:
    """A model whose outputs have the types and shapes that follow from the nodes."""
    empty = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph(nodes, "g", inputs, empty, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made, check_type=True, strict_mode=True, data_prop=True)


def given(case: Case) -> dict[str, Array]:
    return {f"x{i}": x for i, x in enumerate(case.inputs) if x is not None and i not in case.fixed}


def by_ort(case: Case) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model(case).SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(None, given(case))
    return found


def by_torch(case: Case, folder: Path, real: int = TensorProto.FLOAT) -> list[Array]:
    path = folder / "case.onnx"
    onnx.save(model(case, real), str(path))
    graph = torch_graph.Engine().load(path)
    for name, array in given(case).items():
        graph.inputs[name][...] = array
    graph.run()
    return [buffer.copy() for buffer in graph.outputs.values()]
