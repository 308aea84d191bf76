"""A GPU that tests bring along: the real cuda-bindings, over a driver that does it all on the CPU (libcuda.cpp)."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray

from tests.edge_runtime.backends.simulated.build import SONAME, library

LAUNCH_FAILED = 719
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_alive: list[Any] = []
"""What streams may still call."""


class Refused(Exception):
    """By the driver; `code` is a number of cuda.h."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(f"{what}: {code}")
        self.code = code


@functools.cache
def missing() -> str:
    """Why there cannot be a simulated GPU here, or ""."""
    if not shutil.which("g++"):
        return "g++ is not installed, which compiles the simulated GPU driver"
    if not _installed("cuda.bindings.driver"):
        return "cuda-bindings is not installed"
    try:
        loaded = ctypes.CDLL(SONAME, os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:
        return ""
    return "" if hasattr(loaded, "sim_present") else f"a real {SONAME} is in use in this process"


@contextmanager
def present(
    *,
    integrated: bool = True,
    capability: tuple[int, int] = (8, 7),
    name: str = "Orin",
    memory_bytes: int = 64 << 20,
    driver: int = 12060,
) -> Iterator[None]:
    """Within the block this machine has that GPU; before and after it has none. Skips the test where that cannot be.

    Everything in the driver is new at the beginning and gone at the end. Raises `AssertionError` where memory was
    written outside of an allocation or after it was freed.
    """
    if missing():
        pytest.skip(missing())
    _driver().sim_present(int(integrated), *capability, name.encode(), memory_bytes, driver)
    try:
        yield
    finally:
        sound = _driver().sim_absent()
        _alive.clear()
    assert sound, "memory of the GPU was written outside of an allocation, or after it was freed"


def enqueue(stream: int, work: Callable[[], None]) -> None:
    """Have `work` done when `stream` comes to it; where the stream captures, each time that the graph runs.

    What it raises is printed and ends all work of the GPU: CUDA_ERROR_LAUNCH_FAILED. Raises `Refused`.
    """

    def call(_: int | None) -> int:
        try:
            work()
        except Exception:  # noqa: BLE001 - nothing can be raised through the driver
            traceback.print_exc()
            return LAUNCH_FAILED
        return 0

    callback = _Callback(call)
    _alive.append(callback)
    _check("enqueue", _driver().sim_enqueue(stream, callback, None))


def memory(address: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """What the GPU sees at `address`, for work to compute with; `Refused` unless it is all in one allocation."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    _check(f"memory at {address:#x}", _driver().sim_memory(address, size))
    found: NDArray[Any] = np.frombuffer(memoryview((ctypes.c_uint8 * size).from_address(address)), np.dtype(dtype))
    return found.reshape(shape)


def fail(function: str, code: int, after: int = 0) -> None:
    """Have one call of the driver's `function` do nothing but answer `code`: the next one, `after` others."""
    _check(function, _driver().sim_fail(function.encode(), code, after))


def hang(seconds: float) -> None:
    """Have the next wait for a stream or an event take that long."""
    _driver().sim_hang(seconds)


def called() -> Counter[str]:
    """How often each function of the driver has been called since the GPU was there, or refused to be."""
    found: Counter[str] = Counter()
    calls = ctypes.c_uint64()
    while name := _driver().sim_called(len(found), ctypes.byref(calls)):
        found[name.decode()] = calls.value
    return found


def used_bytes() -> int:
    """What is allocated, on the GPU and page-locked."""
    return int(_driver().sim_used())


@functools.cache
def _driver() -> ctypes.CDLL:
    """The library, loaded before cuda-bindings look for it: a library of that name is only loaded once."""
    found = ctypes.CDLL(str(library()))
    number, pointer = ctypes.c_int, ctypes.c_void_p
    found.sim_present.argtypes = [number, number, number, ctypes.c_char_p, ctypes.c_size_t, number]
    found.sim_enqueue.argtypes = [pointer, _Callback, pointer]
    found.sim_memory.argtypes = [pointer, ctypes.c_size_t]
    found.sim_fail.argtypes = [ctypes.c_char_p, number, number]
    found.sim_hang.argtypes = [ctypes.c_double]
    found.sim_called.argtypes = [ctypes.c_size_t, ctypes.POINTER(ctypes.c_uint64)]
    found.sim_called.restype = ctypes.c_char_p
    found.sim_used.restype = ctypes.c_size_t
    return found


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _check(what: str, code: int) -> None:
    if code:
        raise Refused(what, code)
