"""The GPU of this machine: what it is, memory, and the one stream on which everything is done."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.backends.cuda.driver import NO_MEMORY, CudaError, call, driver
from edge_runtime.backends.program.tensor import Tensor
from edge_runtime.errors import BackendError, one_line

_MIB = 1 << 20


class Gpu:
    """GPU 0. `arch` is its compute capability, "sm87"; `integrated`: it and the CPU share their memory, as on a Jetson.

    Work goes through the primary context, which libraries use too, made current in whichever thread does it.
    """

    def __init__(self) -> None:
        cuda, attribute = driver(), driver().CUdevice_attribute
        call("cuInit", 0)
        device = call("cuDeviceGet", 0)
        self._primary = call("cuDevicePrimaryCtxRetain", device)
        self.name: str = call("cuDeviceGetName", 256, device).rstrip(b"\0").decode()
        major, minor, self.integrated = (
            int(call("cuDeviceGetAttribute", getattr(attribute, f"CU_DEVICE_ATTRIBUTE_{name}"), device))
            for name in ("COMPUTE_CAPABILITY_MAJOR", "COMPUTE_CAPABILITY_MINOR", "INTEGRATED")
        )
        self.arch = f"sm{major}{minor}"
        event = cuda.CUevent_flags
        with self.current():
            self._stream = call("cuStreamCreate", int(cuda.CUstream_flags.CU_STREAM_NON_BLOCKING))
            flags = int(event.CU_EVENT_BLOCKING_SYNC) | int(event.CU_EVENT_DISABLE_TIMING)
            self._done = call("cuEventCreate", flags)
        self.stream = int(self._stream)
        """Handle of the stream on which everything is done, copies too: it and the default one do not wait for each
        other."""

    @contextmanager
    def current(self) -> Iterator[None]:
        """Within the block this thread works on this GPU."""
        call("cuCtxPushCurrent", self._primary)
        try:
            yield
        finally:
            call("cuCtxPopCurrent")

    def wait(self) -> None:
        """Return when all that is on the stream is done. The thread sleeps, without the interpreter lock, unbounded."""
        call("cuEventRecord", self._done, self._stream)
        call("cuEventSynchronize", self._done)

    def shared(self, shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> Tensor:
        """Zeroed page-locked memory, mapped into the GPU's address space: on a Jetson the same memory, no copy.

        `what` is who asks for it, as a message has it.
        """
        size = _size(shape, dtype)
        with self.current():
            address = self._allocated("cuMemHostAlloc", size, what, int(driver().CU_MEMHOSTALLOC_DEVICEMAP))
            owner = _Pinned(int(address), shape, dtype)
            array = np.asarray(owner)
            array.fill(0)
            on_gpu = int(call("cuMemHostGetDevicePointer", address, 0))
        return Tensor(shape, dtype, on_gpu, array, owner)

    def private(self, shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> Tensor:
        """Zeroed memory that the GPU alone sees; `what` as in `shared`."""
        size = _size(shape, dtype)
        with self.current():
            address = int(self._allocated("cuMemAlloc", size, what))
            owner = _Owner("cuMemFree", address)
            call("cuMemsetD8Async", address, 0, size, self.stream)
            self.wait()
        return Tensor(shape, dtype, address, None, owner)

    def filled(self, values: NDArray[Any], what: str) -> Tensor:
        """As `private`, with `values` in it."""
        found, source = self.private(values.shape, values.dtype, what), np.ascontiguousarray(values)
        with self.current():
            call("cuMemcpyAsync", found.address, source.ctypes.data, found.nbytes, self.stream)
            self.wait()
        return found

    def copied(self, source: Tensor) -> NDArray[Any]:
        """What stands in `source`, when all that is on the stream is done."""
        found = np.empty(source.shape, source.dtype)
        with self.current():
            call("cuMemcpyAsync", found.ctypes.data, source.address, source.nbytes, self.stream)
            self.wait()
        return found

    def memory(self) -> tuple[int, int]:
        """Bytes that are free, and that there are."""
        with self.current():
            free, total = call("cuMemGetInfo")
        return int(free), int(total)

    def _allocated(self, function: str, size: int, what: str, *more: int) -> Any:
        try:
            return call(function, size, *more)
        except CudaError as error:
            if error.code != NO_MEMORY:
                raise
            if function == "cuMemHostAlloc" and not self.integrated:
                mib = math.ceil(size / _MIB)
                raise BackendError(f"{what}: this computer has no {mib} MiB that can be page-locked for it") from error
            raise BackendError(self.lacking(what, size)) from error

    def lacking(self, what: str, size: int = 0) -> str:
        """Says that `what` asked for `size` bytes (0: nobody knows) that the GPU has not."""
        free, total = self.memory()
        asked = f"no {math.ceil(size / _MIB)} MiB" if size else "no memory"
        return (
            f"{what}: the GPU has {asked} left for it: {free // _MIB} of {total // _MIB} MiB are free; quantize the "
            "bundle, or stop what else uses the GPU"
        )


class _Owner:
    """Frees memory when nothing has it any more."""

    def __init__(self, function: str, address: int) -> None:
        weakref.finalize(self, _free, function, address).atexit = False  # the process frees what is left


class _Pinned(_Owner):
    """Page-locked memory: an array of it keeps it, as its base."""

    def __init__(self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        super().__init__("cuMemFreeHost", address)
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": (address, False)}


def _free(function: str, address: int) -> None:
    with suppress(BackendError), gpu().current():
        call(function, address)


def _size(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Bytes, at least one: the driver gives no empty memory."""
    return max(1, math.prod(shape) * dtype.itemsize)


@functools.cache
def gpu() -> Gpu:
    """The GPU of this machine; `BackendError` where there is none, or what reaches it is not installed."""
    try:
        return Gpu()
    except CudaError as error:
        remedy = "stop what else uses it" if error.code == NO_MEMORY else "is its driver loaded?"
        raise BackendError(f"no GPU can be reached from here: {error}; {remedy}") from error
    except RuntimeError as error:  # what cuda-bindings raises where there is no driver to load
        raise BackendError(f"no GPU can be reached from here: {one_line(error)}") from error
