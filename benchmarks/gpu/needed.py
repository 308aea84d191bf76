"""Has this Python what the check needs? `python -m benchmarks.gpu.needed` prints what it lacks and ends with 1.

With a word more it is asked for one thing: `names`, what pip would have to install; `cuda`, PyTorch with CUDA;
`provider`, onnxruntime with its CUDA provider.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

USED = {
    "numpy": "numpy.ndarray",
    "msgspec": "msgspec.Struct",
    "safetensors": "safetensors.safe_open",
    "tokenizers": "tokenizers.Tokenizer",
    "torch": "torch.Tensor",
    "onnx": "onnx.ModelProto",
    "onnx-ir": "onnx_ir.Model",
    "onnxscript": "onnxscript.ir",
    "ml_dtypes": "ml_dtypes.bfloat16",
    "onnxruntime": "onnxruntime.InferenceSession",
    "cuda-bindings": "cuda.bindings.driver.cuInit",
    "pytest": "pytest.main",
    "hypothesis": "hypothesis.given",
}
"""What pip installs → something of it. A folder that an installation left half there can be imported, and is empty."""


def lacking() -> str:
    """What is not installed or does not load, and whether PyTorch was built without CUDA; "" where nothing lacks."""
    missing = f"not installed, or not whole: {names}" if (names := lacking_names()) else ""
    return "; ".join(filter(None, (missing, _torch())))


def lacking_names() -> str:
    return ", ".join(name for name, used in USED.items() if _found(used) is None)


def _torch() -> str:
    if _found("torch.Tensor") is None:
        return ""
    import torch

    return "" if torch.version.cuda else f"PyTorch {torch.__version__} is built without CUDA"


def has_cuda() -> str:
    """Why PyTorch reaches no GPU; "" where it may."""
    return _torch() if _found("torch.Tensor") else "there is no PyTorch"


def has_provider() -> str:
    """Why onnxruntime computes on no GPU; "" where it may."""
    providers = _found("onnxruntime.get_available_providers")
    return "" if providers and "CUDAExecutionProvider" in providers() else "onnxruntime has no CUDA provider"


def _found(used: str) -> Any:
    """The thing, or None; a library says in many ways that it does not load."""
    module, _, name = used.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception:  # noqa: BLE001
        return None


_ASKED: dict[str, Callable[[], str]] = {
    "": lacking,
    "names": lacking_names,
    "cuda": has_cuda,
    "provider": has_provider,
}

if __name__ == "__main__":
    said = _ASKED["".join(sys.argv[1:])]()
    print(said)
    sys.exit(bool(said))
