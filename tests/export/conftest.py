"""Without torch, or without what writes ONNX, there is no export to test."""

import importlib.util

from tests.edge_runtime.engines.fakes import machine

__all__ = ["machine"]

collect_ignore_glob = (
    [] if all(importlib.util.find_spec(name) for name in ("torch", "onnx", "onnxscript")) else ["*.py", "*/*.py"]
)
