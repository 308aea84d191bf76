"""Whether ONNX Runtime runs anything here: a graph of one node, loaded as `edge verify` loads those of a bundle.

Only so does it tell: that it was built with a provider says nothing of the libraries which that needs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from edge_runtime import plugins
from edge_runtime.errors import BackendError
from edge_runtime.protobuf_write import data, integer

_FLOAT = 1
"""TensorProto.DataType (onnx.proto, which has the field numbers too)."""


def load(backend: str) -> None:
    """Load it with the backend "ort" or "ort_cuda". Raises `BackendError` where a bundle's would be refused too."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.onnx"
        path.write_bytes(_doubling())
        try:
            plugins.load(plugins.BACKENDS, backend).Engine(1).load(path)
        except BackendError as error:
            raise BackendError(str(error).replace(str(path), "a graph of one node")) from error


def _doubling() -> bytes:
    """An ONNX file: y = x + x, both float32 [1]."""
    kind = data(2, data(1, integer(1, _FLOAT) + data(2, data(1, integer(1, 1)))))
    node = data(1, "x") + data(1, "x") + data(2, "y") + data(3, "double") + data(4, "Add")
    graph = data(1, node) + data(2, "one") + data(11, data(1, "x") + kind) + data(12, data(1, "y") + kind)
    return integer(1, 9) + data(7, graph) + data(8, integer(2, 20))  # ir_version 9, opset 20
