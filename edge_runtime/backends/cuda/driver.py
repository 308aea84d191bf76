"""NVIDIA's driver through cuda-bindings, of which every call releases the interpreter lock (from 12.9.1 on)."""

from __future__ import annotations

import functools
from typing import Any

from edge_runtime.errors import BackendError, DeviceLost, one_line

NO_MEMORY = 2
"""CUDA_ERROR_OUT_OF_MEMORY."""
LASTING = frozenset({214, 220, 700, 702, 710, *range(714, 720)})
"""Errors of cuda.h after which all work of this process is refused: memory or links that cannot be corrected, an
address, instruction or assertion in a kernel, a launch that failed or took too long."""
_INSTALL = "pip install '.[cuda]' in the checkout"


class CudaError(BackendError):
    """What the driver answered instead of doing what it was asked; `code` is a number of cuda.h."""

    def __init__(self, function: str, code: int, meaning: str) -> None:
        super().__init__(f"{function}: {meaning}")
        self.code = code


@functools.cache
def driver() -> Any:
    """`cuda.bindings.driver`; `BackendError` where it is not installed."""
    try:
        from cuda.bindings import driver as found
    except ImportError as error:
        raise BackendError(f"no GPU can be reached from here: {one_line(error)}; {_INSTALL}") from error
    return found


def call(name: str, *arguments: Any) -> Any:
    """Call the driver's function `name` and return what it gives back: None, a value or a tuple. Raises `CudaError`."""
    status, *found = getattr(driver(), name)(*arguments)
    if int(status):
        raise CudaError(name, int(status), _meaning(status))
    return found[0] if len(found) == 1 else tuple(found) or None


def refusal(error: CudaError, where: str) -> BackendError:
    """What `error` is to whoever asked for a run; `where` says what was run."""
    if error.code in LASTING:
        return DeviceLost(f"{where}: {error}: the GPU takes no more work from this process: start it again")
    return BackendError(f"{where}: {error}")


def _meaning(status: Any) -> str:
    found = [getattr(driver(), name)(status) for name in ("cuGetErrorName", "cuGetErrorString")]
    words = [text.decode() for failed, text in found if not int(failed) and text]
    return " (".join(words) + ")" * (len(words) - 1) if words else f"error {int(status)}"
