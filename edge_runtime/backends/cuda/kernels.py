"""The steps of a program on the GPU: kernels.cu, or a copy by the driver."""

from __future__ import annotations

import ctypes
import functools
from importlib import resources
from typing import Any

import numpy as np

from edge_runtime.backends.cuda.driver import call
from edge_runtime.backends.cuda.gpu import gpu
from edge_runtime.backends.program.steps import Add, Choose, Copy, Remember, Step
from edge_runtime.backends.program.tensor import Tensor

THREADS = 256
"""Of a block; `choose` counts on it."""
_ADDRESS, _U32, _I64, _F32 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int64, ctypes.c_float


def enqueue(step: Step) -> None:
    """Put a step that is no graph on the stream. The GPU is current."""
    if isinstance(step, Copy):
        call("cuMemcpyAsync", step.target.address, step.source.address, step.source.nbytes, gpu().stream)
    elif isinstance(step, Add):
        size = step.target.size
        _launch("add", size, (step.target, _ADDRESS), (step.change, _ADDRESS), (float(step.times), _F32), (size, _U32))
    elif isinstance(step, Remember):
        _remember(step)
    else:
        assert isinstance(step, Choose)
        _choose(step)


def _remember(step: Remember) -> None:
    rows, slots, width = int(np.prod(step.cache.shape[:3])), step.cache.shape[3], step.cache.shape[4]
    row_bytes = width * step.cache.dtype.itemsize
    addresses = [(tensor, _ADDRESS) for tensor in (step.cache, step.new, step.mask, step.count)]
    _launch(
        "remember", rows * row_bytes, *addresses, (step.first, _I64), (rows, _U32), (slots, _U32), (row_bytes, _U32)
    )


def _choose(step: Choose) -> None:
    addresses = [(tensor, _ADDRESS) for tensor in (step.logits, step.ids, step.token, step.written, step.count)]
    logits, ids, token, written, count = addresses
    size, most = (step.ids.size, _U32), (step.written.size, _U32)
    _launch("choose", THREADS, logits, ids, size, token, written, most, count)


def _launch(name: str, threads: int, *arguments: tuple[Any, Any]) -> None:
    values = tuple(value.address if isinstance(value, Tensor) else value for value, _ in arguments)
    kinds = tuple(kind for _, kind in arguments)
    blocks = -(-threads // THREADS)
    call("cuLaunchKernel", _kernel(name), blocks, 1, 1, THREADS, 1, 1, 0, gpu().stream, (values, kinds), 0)


@functools.cache
def _kernel(name: str) -> Any:
    return call("cuModuleGetFunction", _module(), name.encode())


@functools.cache
def _module() -> Any:
    text = resources.files("edge_runtime.backends.cuda").joinpath("kernels.ptx").read_bytes()
    return call("cuModuleLoadData", text + b"\0")


@functools.cache
def load() -> None:
    """Do each kernel once to nothing. The driver loads a kernel when it is first launched, and not in a capture."""
    nothing = gpu().private((8,), np.dtype(np.int64), "the policy's steps")
    at, none, first = (nothing, _ADDRESS), (0, _U32), (0, _I64)
    _launch("add", THREADS, at, at, (0.0, _F32), none)
    _launch("remember", THREADS, at, at, at, at, first, none, none, none)
    _launch("choose", THREADS, at, at, none, at, at, none, at)
    gpu().wait()
