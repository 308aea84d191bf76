"""A graph from its file, with weights that are read when they are asked for, one at a time, and never mapped."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir

from edge_runtime.errors import one_line
from export.errors import ExportError
from export.onnx_weights import onnx_weight


def load_graph(path: Path) -> ir.Model:
    """The model in `path`; `ExportError`, `BackendError` where a weight is not where it says.

    A mapped file would count as resident memory, page by page, until all of it did.
    """
    try:
        model = ir.load(path)
    except Exception as error:  # whatever its bytes lead to
        raise ExportError(f"{path}: cannot be read ({one_line(error)}); export it again") from error
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            value.const_value = _lazy(path, value.const_value)
    return model


def _lazy(path: Path, tensor: ir.ExternalTensor) -> ir.LazyTensor:
    if tensor.dtype.bitwidth < 8:
        raise ExportError(f"{path}: {tensor.name} is {tensor.dtype.name}, and this is no quantized graph")
    weight = onnx_weight(path, _as_proto(tensor))

    def read() -> ir.TensorProtocol:
        return ir.tensor_adapters.TorchTensor(weight.read(), name=tensor.name)

    return ir.LazyTensor(read, tensor.dtype, tensor.shape, name=tensor.name)


def _as_proto(tensor: ir.ExternalTensor) -> onnx.TensorProto:
    """The tensor as its file has it."""
    proto = onnx.TensorProto(name=str(tensor.name), data_type=int(tensor.dtype), dims=tensor.shape.numpy())
    proto.data_location = onnx.TensorProto.EXTERNAL
    place = {"location": tensor.location, "offset": tensor.offset, "length": tensor.length}
    for key, value in place.items():
        if value is not None:
            proto.external_data.add(key=key, value=str(value))
    return proto
