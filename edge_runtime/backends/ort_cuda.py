"""ONNX Runtime's CUDA provider, for machines with an NVIDIA GPU and without TensorRT."""

from __future__ import annotations

from edge_runtime.backends import ort


class Engine(ort.CudaEngine):
    """Runs a bundle's own ONNX files; nothing is compiled."""
