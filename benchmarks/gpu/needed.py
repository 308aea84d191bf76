"""Has this Python what the check needs? `python -m benchmarks.gpu.needed` prints what it lacks and ends with 1."""

from __future__ import annotations

import importlib.util
import sys

MODULES = (
    *("numpy", "msgspec", "safetensors", "tokenizers", "torch", "onnx", "onnx_ir", "onnxscript", "ml_dtypes"),
    *("onnxruntime", "cuda", "pytest", "hypothesis"),
)


def lacking() -> str:
    """What is not installed, or that PyTorch was built without CUDA; "" where nothing lacks."""
    names = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if names:
        return f"not installed: {', '.join(names)}"
    import torch

    return "" if torch.version.cuda else f"PyTorch {torch.__version__} is built without CUDA"


if __name__ == "__main__":
    said = lacking()
    print(said)
    sys.exit(bool(said))
