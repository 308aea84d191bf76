"""Is there an NVIDIA GPU? Asked of the driver itself, with nothing installed: `python -m benchmarks.gpu.found`.

It prints why there is none, or nothing.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

_NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE of cuda.h."""
_MAJOR, _MINOR, _INTEGRATED, _PROCESSORS = 75, 76, 18, 16
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR, _INTEGRATED and _MULTIPROCESSOR_COUNT."""


@dataclass(frozen=True)
class Found:
    """GPU 0. `integrated`: it shares the CPU's memory. `cuda`: what the driver is made for, "13.0"."""

    name: str
    arch: str
    memory_bytes: int
    integrated: bool
    processors: int
    cuda: str


def missing() -> str:
    """Why there is no GPU; "" where there is one."""
    found = look()
    return found if isinstance(found, str) else ""


def look() -> Found | str:
    """GPU 0, or why there is none. Makes no context and takes no memory."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver (libcuda.so.1 cannot be loaded)"
    status = cuda.cuInit(0)
    device, count = ctypes.c_int(), ctypes.c_int()
    if status == _NO_DEVICE or (not status and (cuda.cuDeviceGetCount(ctypes.byref(count)) or not count.value)):
        return "the NVIDIA driver finds no GPU"
    if status or cuda.cuDeviceGet(ctypes.byref(device), 0):
        return f"the NVIDIA driver does not start (cuInit: {status})"
    name, memory, version = ctypes.create_string_buffer(256), ctypes.c_size_t(), ctypes.c_int()
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    major, minor, integrated, processors = (
        _attribute(cuda, device, what) for what in (_MAJOR, _MINOR, _INTEGRATED, _PROCESSORS)
    )
    return Found(
        name=name.value.decode(errors="replace"),
        arch=f"sm{major}{minor}",
        memory_bytes=memory.value,
        integrated=bool(integrated),
        processors=processors,
        cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


def _attribute(cuda: ctypes.CDLL, device: ctypes.c_int, what: int) -> int:
    value = ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(value), what, device)
    return value.value


if __name__ == "__main__":
    print(missing(), end="")
