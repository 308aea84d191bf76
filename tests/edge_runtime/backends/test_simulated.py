"""The simulated GPU driver itself: it must be as strict as a real one, or tests over it say nothing."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.edge_runtime.backends import simulated
from tests.edge_runtime.backends.simulated.build import library
from tests.edge_runtime.engines.onnx_writer import doubling

if simulated.missing():
    pytest.skip(simulated.missing(), allow_module_level=True)

from cuda.bindings import driver as cuda

INVALID_VALUE, OUT_OF_MEMORY, NOT_INITIALIZED, NO_DEVICE, INVALID_CONTEXT = 1, 2, 3, 100, 201
INVALID_PTX, INVALID_HANDLE, ILLEGAL_STATE, NOT_FOUND, NOT_READY = 218, 400, 401, 500, 600
ILLEGAL_ADDRESS, LAUNCH_FAILED, UNSUPPORTED, INVALIDATED, IMPLICIT = 700, 719, 900, 901, 906
CAPTURED_EVENT, WRONG_THREAD = 907, 908
NON_BLOCKING, NO_TIMING, DEVICE_MAP = 1, 2, 2
GLOBAL, THREAD_LOCAL, RELAXED = (cuda.CUstreamCaptureMode(mode) for mode in range(3))
FRESH, FREED = 0xCD, 0xDD
ONE = (1, 1, 1, 1, 1, 1)
"""A grid of one thread."""
MIB = 1 << 20
PTX = b"// made by hand\n.version 8.4\n.target sm_75\n.address_size 64\n" + b"".join(
    b".visible .entry probe_%s(\n)\n{ ret; }\n" % name for name in (b"place", b"sum", b"leave", b"write", b"round")
)


def code(name: str, *arguments: Any) -> int:
    return int(getattr(cuda, name)(*arguments)[0])


def call(name: str, *arguments: Any) -> Any:
    status, *found = getattr(cuda, name)(*arguments)
    assert int(status) == 0, (name, status)
    return found[0] if found else None


def start() -> int:
    """Make the primary context current; return a stream that does not wait for the default one."""
    call("cuInit", 0)
    call("cuCtxPushCurrent", call("cuDevicePrimaryCtxRetain", call("cuDeviceGet", 0)))
    return int(call("cuStreamCreate", NON_BLOCKING))


@pytest.fixture
def stream() -> Iterator[int]:
    with simulated.present(memory_bytes=MIB):
        yield start()


def pinned(values: list[float]) -> Any:
    """Page-locked float32; the array's address is the GPU's too."""
    address = int(call("cuMemHostAlloc", 4 * len(values), DEVICE_MAP))
    assert int(call("cuMemHostGetDevicePointer", address, 0)) == address
    array = np.frombuffer(memoryview((ctypes.c_float * len(values)).from_address(address)), np.float32)
    array[:] = values
    return array


def device(size: int) -> int:
    return int(call("cuMemAlloc", size))


def fetched(address: int, size: int) -> list[int]:
    found = np.zeros(size, np.uint8)
    call("cuMemcpyDtoH", found.ctypes.data, address, size)
    return list(found)


def kernel(name: str) -> Any:
    return call("cuModuleGetFunction", call("cuModuleLoadData", PTX + b"\0"), name.encode())


def launch(stream: int, name: str, values: Any, kinds: Any, grid: tuple[int, ...] = (1, 1, 1, 64, 1, 1)) -> int:
    return code("cuLaunchKernel", kernel(name), *grid, 0, stream, (values, kinds), 0)


def captured(stream: int) -> Any:
    return call("cuGraphInstantiate", call("cuStreamEndCapture", stream), 0)


# What there is


def test_there_is_no_gpu_until_one_is_present() -> None:
    with simulated.present():
        start()
    assert code("cuInit", 0) == NO_DEVICE
    assert code("cuDeviceGet", 0) == NOT_INITIALIZED
    assert code("cuMemAlloc", 4) == NOT_INITIALIZED


@pytest.mark.parametrize("integrated", [True, False])
def test_it_is_the_gpu_that_was_asked_for(integrated: bool) -> None:
    attribute = cuda.CUdevice_attribute
    with simulated.present(integrated=integrated, capability=(12, 1), name="Thor", memory_bytes=MIB, driver=13000):
        assert call("cuDriverGetVersion") == 13000
        start()
        assert call("cuDeviceGetName", 64, 0).rstrip(b"\0") == b"Thor"
        assert call("cuDeviceTotalMem", 0) == MIB
        assert call("cuDeviceGetAttribute", attribute.CU_DEVICE_ATTRIBUTE_INTEGRATED, 0) == integrated
        assert call("cuDeviceGetAttribute", attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0) == 12
        assert call("cuDeviceGetAttribute", attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0) == 1


def test_errors_have_their_names(stream: int) -> None:
    assert call("cuGetErrorName", cuda.CUresult(UNSUPPORTED)) == b"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
    assert call("cuGetErrorString", cuda.CUresult(OUT_OF_MEMORY)) == b"out of memory"


def test_a_thread_without_the_context_is_refused(stream: int) -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(code("cuMemAlloc", 4)))
    thread.start()
    thread.join()
    assert found == [INVALID_CONTEXT]
    call("cuCtxPopCurrent")
    assert code("cuMemAlloc", 4) == INVALID_CONTEXT


def test_the_last_release_ends_the_context(stream: int) -> None:
    device(4)
    call("cuDevicePrimaryCtxRelease", 0)
    assert simulated.used_bytes() == 0
    assert code("cuStreamSynchronize", stream) == INVALID_CONTEXT


def test_nothing_is_left_of_an_earlier_gpu() -> None:
    with simulated.present():
        old = start()
        address, array = device(4), pinned([1])
        simulated.fail("cuMemAlloc", OUT_OF_MEMORY)
    with simulated.present():
        assert simulated.used_bytes() == 0
        assert code("cuMemAlloc", 4) == NOT_INITIALIZED
        start()
        assert code("cuStreamSynchronize", old) == INVALID_HANDLE
        assert code("cuMemFree", address) == INVALID_VALUE
        assert code("cuMemFreeHost", array.ctypes.data) == INVALID_VALUE
        array[:] = 3


# Memory


@pytest.mark.parametrize(("integrated", "together"), [(True, MIB), (False, 2 * MIB)])
def test_memory_is_limited(integrated: bool, together: int) -> None:
    with simulated.present(integrated=integrated, memory_bytes=MIB):
        start()
        first = device(MIB // 2)
        host = int(call("cuMemHostAlloc", MIB // 4, DEVICE_MAP))
        assert cuda.cuMemGetInfo()[1:] == ((MIB // 4 if integrated else MIB // 2), MIB)
        assert code("cuMemAlloc", MIB) == OUT_OF_MEMORY
        assert code("cuMemHostAlloc", MIB, DEVICE_MAP) == OUT_OF_MEMORY
        call("cuMemFree", first)
        call("cuMemFreeHost", host)
        assert cuda.cuMemGetInfo()[1:] == (MIB, MIB)
        device(MIB)
        assert code("cuMemHostAlloc", MIB, DEVICE_MAP) == (OUT_OF_MEMORY if integrated else 0)
        assert simulated.used_bytes() == together


def test_memory_is_poisoned_before_and_after(stream: int) -> None:
    address, array = device(4), pinned([0])
    assert fetched(address, 4) == [FRESH] * 4
    call("cuMemFreeHost", array.ctypes.data)
    assert set(array.tobytes()) == {FREED}
    assert code("cuMemAlloc", 0) == INVALID_VALUE


def test_freeing_what_is_not_there_is_refused(stream: int) -> None:
    address, array = device(16), pinned([0])
    assert code("cuMemFree", address + 4) == INVALID_VALUE
    assert code("cuMemFree", array.ctypes.data) == INVALID_VALUE
    assert code("cuMemFreeHost", address) == INVALID_VALUE
    call("cuMemFree", address)
    assert code("cuMemFree", address) == INVALID_VALUE


@pytest.mark.parametrize(("offset", "size"), [(0, 17), (16, 1), (-1, 4), (4, 13)])
def test_copies_stay_inside(stream: int, offset: int, size: int) -> None:
    address, other = device(16), device(64)
    assert code("cuMemcpyAsync", address + offset, other, size, stream) == INVALID_VALUE
    assert code("cuMemcpyAsync", other, address + offset, size, stream) == INVALID_VALUE
    assert code("cuMemcpyDtoH", np.zeros(64, np.uint8).ctypes.data, address + offset, size) == INVALID_VALUE
    assert code("cuMemcpyHtoD", address + offset, np.zeros(64, np.uint8).ctypes.data, size) == INVALID_VALUE
    assert code("cuMemsetD8", address + offset, 0, size) == INVALID_VALUE
    call("cuMemcpyAsync", address, other, 16, stream)


def test_use_after_free(stream: int) -> None:
    address, other = device(16), device(16)
    call("cuMemcpyAsync", address, other, 16, stream)
    call("cuMemFree", address)
    assert code("cuMemcpyAsync", address, other, 16, stream) == INVALID_VALUE
    assert code("cuStreamSynchronize", stream) == ILLEGAL_ADDRESS
    assert code("cuMemAlloc", 4) == ILLEGAL_ADDRESS


def write_outside(at: int) -> None:
    with simulated.present():
        stream = start()
        kinds = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_float)
        launch(stream, "probe_write", (device(16), at, 1.0), kinds, ONE)
        assert code("cuStreamSynchronize", stream) == ILLEGAL_ADDRESS


@pytest.mark.parametrize("at", [-1, 4])
def test_a_kernel_that_writes_outside_is_found(at: int) -> None:
    with pytest.raises(AssertionError, match="outside of an allocation"):
        write_outside(at)


def write_late() -> None:
    with simulated.present():
        start()
        array = pinned([1])
        call("cuMemFreeHost", array.ctypes.data)
        array[:] = 1


def test_a_late_write_to_freed_memory_is_found() -> None:
    with pytest.raises(AssertionError, match="after it was freed"):
        write_late()


# What is asynchronous, and what is not


def test_nothing_happens_before_a_wait(stream: int) -> None:
    source, middle, target = pinned([1, 2]), device(8), pinned([0, 0])
    done: list[int] = []
    call("cuMemcpyAsync", middle, source.ctypes.data, 8, stream)
    call("cuMemcpyAsync", target.ctypes.data, middle, 8, stream)
    simulated.enqueue(stream, lambda: done.append(1))
    source[0] = 5
    assert target.tolist() == [0, 0]
    assert not done
    call("cuStreamSynchronize", stream)
    assert target.tolist() == [5, 2]
    assert done == [1]
    call("cuStreamSynchronize", stream)
    assert done == [1]


def test_an_event_waits_for_what_came_before_it(stream: int) -> None:
    done: list[str] = []
    event = call("cuEventCreate", NO_TIMING)
    call("cuEventSynchronize", event)
    simulated.enqueue(stream, lambda: done.append("before"))
    call("cuEventRecord", event, stream)
    simulated.enqueue(stream, lambda: done.append("after"))
    call("cuEventSynchronize", event)
    assert done == ["before"]
    call("cuEventSynchronize", event)
    call("cuStreamSynchronize", stream)
    assert done == ["before", "after"]


def test_events_tell_the_time(stream: int) -> None:
    begin, end, untimed = call("cuEventCreate", 0), call("cuEventCreate", 0), call("cuEventCreate", NO_TIMING)
    assert code("cuEventElapsedTime", begin, end) == INVALID_HANDLE
    call("cuEventRecord", begin, stream)
    simulated.enqueue(stream, lambda: time.sleep(0.01))
    call("cuEventRecord", end, stream)
    assert code("cuEventElapsedTime", begin, end) == NOT_READY
    call("cuEventSynchronize", end)
    assert 10 <= call("cuEventElapsedTime", begin, end) < 1000
    assert code("cuEventElapsedTime", begin, untimed) == INVALID_HANDLE
    call("cuEventDestroy", begin)
    assert code("cuEventRecord", begin, stream) == INVALID_HANDLE


def test_the_default_stream_orders_only_blocking_ones(stream: int) -> None:
    """So memory that is set or filled on it is not there yet for a stream that does not block."""
    address, filled, target = device(4), device(4), pinned([0, 0])
    call("cuMemsetD8", address, 7, 4)
    call("cuMemcpyHtoD", filled, np.full(4, 9, np.uint8).ctypes.data, 4)
    for source, at in ((address, 0), (filled, 4)):
        call("cuMemcpyAsync", target.ctypes.data + at, source, 4, stream)
    call("cuStreamSynchronize", stream)
    assert set(target.tobytes()) == {FRESH}
    blocking = call("cuStreamCreate", 0)
    call("cuMemcpyAsync", target.ctypes.data, address, 4, blocking)
    call("cuMemsetD8", address, 8, 4)
    call("cuStreamSynchronize", blocking)
    assert target.tobytes()[:4] == bytes([7] * 4)
    assert fetched(address, 4) + fetched(filled, 4) == [8] * 4 + [9] * 4
    call("cuMemsetD8Async", address, 3, 4, stream)
    assert fetched(address, 4) == [8] * 4
    call("cuStreamSynchronize", stream)
    assert fetched(address, 4) == [3] * 4


def test_pageable_memory_is_copied_at_once(stream: int) -> None:
    source, target, address = np.arange(4, dtype=np.uint8), np.zeros(4, np.uint8), device(4)
    call("cuMemcpyAsync", address, source.ctypes.data, 4, stream)
    source[:] = 9
    call("cuMemcpyAsync", target.ctypes.data, address, 4, stream)
    assert target.tolist() == [0, 1, 2, 3]


# Captures and graphs


def test_a_graph_does_it_again(stream: int) -> None:
    done: list[int] = []
    source, target = pinned([1]), pinned([0])
    call("cuStreamBeginCapture", stream, THREAD_LOCAL)
    simulated.enqueue(stream, lambda: done.append(1))
    call("cuMemcpyAsync", target.ctypes.data, source.ctypes.data, 4, stream)
    graph = captured(stream)
    call("cuGraphUpload", graph, stream)
    call("cuStreamSynchronize", stream)
    assert not done
    for k in range(3):
        source[0] = k + 5
        call("cuGraphLaunch", graph, stream)
        assert target[0] == (k + 4 if k else 0)
        call("cuStreamSynchronize", stream)
        assert target[0] == k + 5
    assert done == [1, 1, 1]
    call("cuGraphExecDestroy", graph)
    assert code("cuGraphLaunch", graph, stream) == INVALID_VALUE
    assert code("cuGraphExecDestroy", graph) == INVALID_VALUE


FORBIDDEN = [
    ("cuMemAlloc", UNSUPPORTED),
    ("cuMemHostAlloc", UNSUPPORTED),
    ("cuMemFree", UNSUPPORTED),
    ("cuMemcpyHtoD", UNSUPPORTED),
    ("cuMemcpyAsync", UNSUPPORTED),
    ("cuStreamSynchronize", UNSUPPORTED),
    ("cuEventSynchronize", CAPTURED_EVENT),
]


@pytest.mark.parametrize(("name", "expected"), FORBIDDEN)
def test_what_a_capture_forbids_ends_it(stream: int, name: str, expected: int) -> None:
    event, address, pageable = call("cuEventCreate", NO_TIMING), device(4), np.zeros(1, np.float32)
    arguments: dict[str, tuple[Any, ...]] = {
        "cuMemHostAlloc": (4, DEVICE_MAP),
        "cuMemFree": (address,),
        "cuMemcpyHtoD": (address, pageable.ctypes.data, 4),
        "cuMemcpyAsync": (address, pageable.ctypes.data, 4, stream),
        "cuStreamSynchronize": (stream,),
        "cuEventSynchronize": (event,),
    }
    call("cuStreamBeginCapture", stream, THREAD_LOCAL)
    call("cuEventRecord", event, stream)
    assert code(name, *arguments.get(name, (4,))) == expected
    assert code("cuMemsetD8Async", address, 0, 4, stream) == INVALIDATED
    with pytest.raises(simulated.Refused, match=str(INVALIDATED)):
        simulated.enqueue(stream, lambda: None)
    assert code("cuStreamEndCapture", stream) == INVALIDATED
    call("cuStreamSynchronize", stream)
    call("cuEventRecord", event, stream)
    call("cuEventSynchronize", event)
    device(4)


@pytest.mark.parametrize(("mode", "here", "there"), [(GLOBAL, 900, 900), (THREAD_LOCAL, 900, 0), (RELAXED, 0, 0)])
def test_the_mode_says_which_threads_a_capture_binds(stream: int, mode: Any, here: int, there: int) -> None:
    context, found = call("cuDevicePrimaryCtxRetain", 0), []

    def elsewhere() -> None:
        call("cuCtxPushCurrent", context)
        found.append(code("cuMemAlloc", 4))

    call("cuStreamBeginCapture", stream, mode)
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [there]
    assert code("cuMemAlloc", 4) == here
    assert code("cuStreamEndCapture", stream) == (INVALIDATED if here or there else 0)


def test_a_capture_ends_in_the_thread_that_began_it(stream: int) -> None:
    context, found = call("cuDevicePrimaryCtxRetain", 0), []

    def elsewhere() -> None:
        call("cuCtxPushCurrent", context)
        found.append(code("cuStreamEndCapture", stream))

    assert code("cuStreamEndCapture", stream) == ILLEGAL_STATE
    call("cuStreamBeginCapture", stream, THREAD_LOCAL)
    assert code("cuStreamBeginCapture", stream, THREAD_LOCAL) == ILLEGAL_STATE
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [WRONG_THREAD]


def test_the_default_stream_does_not_wait_for_a_capture(stream: int) -> None:
    blocking, address = call("cuStreamCreate", 0), device(4)
    assert code("cuStreamBeginCapture", 0, RELAXED) == UNSUPPORTED
    call("cuStreamBeginCapture", blocking, RELAXED)
    assert code("cuMemsetD8", address, 0, 4) == IMPLICIT
    assert code("cuStreamEndCapture", blocking) == INVALIDATED


# Kernels


def test_a_grid_has_three_dimensions(stream: int) -> None:
    where = pinned([0] * 144)
    assert launch(stream, "probe_place", (where.ctypes.data,), (ctypes.c_void_p,), (2, 3, 1, 4, 3, 2)) == 0
    assert not where.any()
    call("cuStreamSynchronize", stream)
    assert where.view(np.uint32).tolist() == list(range(144))


def summed(stream: int, barrier: bool) -> float:
    numbers, total = pinned([*range(1000), np.inf, np.nan]), pinned([0])
    kinds = (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_bool)
    values = (numbers.ctypes.data, numbers.size, total.ctypes.data, barrier)
    assert launch(stream, "probe_sum", values, kinds) == 0
    call("cuStreamSynchronize", stream)
    return float(total[0])


def test_a_barrier_is_one_and_one_that_is_missing_shows(stream: int) -> None:
    assert summed(stream, barrier=True) == 499500
    assert summed(stream, barrier=False) != 499500


def test_a_barrier_that_some_threads_never_reach(stream: int) -> None:
    assert launch(stream, "probe_leave", (), ()) == 0
    assert code("cuStreamSynchronize", stream) == LAUNCH_FAILED
    assert code("cuMemAlloc", 4) == LAUNCH_FAILED


def test_a_product_is_rounded_before_it_is_added(stream: int) -> None:
    a, found = np.float32(1) + np.float32(2) ** -12, pinned([0])
    product = a * a
    kinds = (ctypes.c_float, ctypes.c_float, ctypes.c_float, ctypes.c_void_p)
    launch(stream, "probe_round", (a, a, -product, found.ctypes.data), kinds, ONE)
    call("cuStreamSynchronize", stream)
    assert found[0] == 0
    assert float(a) * float(a) != float(product)


def test_parameters_are_copied_at_the_launch_and_kept_by_a_graph(stream: int) -> None:
    values, at = pinned([0, 0]), ctypes.c_int64(1)
    value, pointer = ctypes.c_float(5), ctypes.c_void_p(values.ctypes.data)
    parameters = (ctypes.c_void_p * 3)(*(ctypes.addressof(p) for p in (pointer, at, value)))
    function = kernel("probe_write")
    call("cuStreamBeginCapture", stream, THREAD_LOCAL)
    call("cuLaunchKernel", function, 1, 1, 1, 1, 1, 1, 0, stream, ctypes.addressof(parameters), 0)
    at.value, value.value, pointer.value = 0, 9, None
    call("cuGraphLaunch", captured(stream), stream)
    call("cuStreamSynchronize", stream)
    assert values.tolist() == [0, 5]


def test_a_kernel_reaches_only_what_the_gpu_sees(stream: int) -> None:
    kinds = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_float)
    pageable = np.zeros(4, np.float32)
    assert launch(stream, "probe_write", (pageable.ctypes.data, 0, 1.0), kinds, ONE) == 0
    assert code("cuStreamSynchronize", stream) == ILLEGAL_ADDRESS
    assert not pageable.any()


def test_a_launch_that_is_no_grid_is_refused(stream: int) -> None:
    where = (device(4096),), (ctypes.c_void_p,)
    for grid in ((0, 1, 1, 64, 1, 1), (1, 1, 1, 0, 1, 1), (1, 1, 1, 1025, 1, 1)):
        assert launch(stream, "probe_place", *where, grid) == INVALID_VALUE


def test_modules_are_ptx_and_have_their_kernels(stream: int) -> None:
    for text in (b"", b"kernels", b"\x7fELF", b"<!DOCTYPE html>", b"// .version 8.4\n.target sm_75"):
        assert code("cuModuleLoadData", text + b"\0") == INVALID_PTX
    module = call("cuModuleLoadData", PTX.replace(b"probe_sum", b"probe_sum_of") + b"\0")
    function = call("cuModuleGetFunction", module, b"probe_leave")
    for name in (b"probe_sum", b"probe_sum_of", b"levitate"):
        assert code("cuModuleGetFunction", module, name) == NOT_FOUND
    call("cuModuleUnload", module)
    assert code("cuModuleGetFunction", module, b"probe_leave") == INVALID_HANDLE
    assert code("cuLaunchKernel", function, 1, 1, 1, 64, 1, 1, 0, stream, ((), ()), 0) == INVALID_HANDLE


# What tests ask of it


def test_work_computes_with_the_gpus_memory(stream: int) -> None:
    address, target = device(8), pinned([0, 0])

    def work() -> None:
        simulated.memory(address, (2,), np.float32)[:] = [3, 4]

    simulated.enqueue(stream, work)
    call("cuMemcpyAsync", target.ctypes.data, address, 8, stream)
    call("cuStreamSynchronize", stream)
    assert target.tolist() == [3, 4]
    for wrong in (address + 4, np.zeros(8).ctypes.data):
        with pytest.raises(simulated.Refused):
            simulated.memory(wrong, (2,), np.float32)


def test_work_that_fails_ends_everything(stream: int, capfd: pytest.CaptureFixture[str]) -> None:
    simulated.enqueue(stream, lambda: exec("1 / 0"))
    assert code("cuStreamSynchronize", stream) == LAUNCH_FAILED
    assert code("cuStreamSynchronize", stream) == LAUNCH_FAILED
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_work_for_a_stream_that_is_not_there() -> None:
    with simulated.present(), pytest.raises(simulated.Refused, match=str(INVALID_HANDLE)):
        simulated.enqueue(0x999, lambda: None)


def test_a_function_fails_when_it_is_told_to(stream: int) -> None:
    simulated.fail("cuMemAlloc", OUT_OF_MEMORY, after=1)
    assert [code("cuMemAlloc", 4) for _ in range(4)] == [0, OUT_OF_MEMORY, 0, 0]
    assert simulated.used_bytes() == 12
    with pytest.raises(simulated.Refused, match="cuLevitate"):
        simulated.fail("cuLevitate", OUT_OF_MEMORY)


def test_calls_are_counted(stream: int) -> None:
    before = simulated.called()
    call("cuMemFree", device(4))
    device(4)
    assert simulated.called() - before == Counter(cuMemAlloc=2, cuMemFree=1)


@pytest.mark.parametrize("wait", ["cuStreamSynchronize", "cuEventSynchronize"])
def test_a_wait_that_hangs_leaves_python_alone(stream: int, wait: str) -> None:
    event = call("cuEventCreate", NO_TIMING)
    call("cuEventRecord", event, stream)
    ended, ticks = threading.Event(), 0

    def tick() -> None:
        nonlocal ticks
        while not ended.wait(0.001):
            ticks += 1
            cuda.cuDriverGetVersion()

    thread = threading.Thread(target=tick)
    thread.start()
    simulated.hang(0.2)
    began = time.monotonic()
    call(wait, stream if wait == "cuStreamSynchronize" else event)
    taken, seen = time.monotonic() - began, ticks
    ended.set()
    thread.join()
    assert taken >= 0.2
    assert seen > 5


# Its neighbours


def test_the_library_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = library()
    monkeypatch.setattr(subprocess, "run", None)
    assert library() == found


def test_a_real_driver_is_left_alone(tmp_path: Path) -> None:
    real = tmp_path / "libcuda.so.1"
    subprocess.run(["g++", "-shared", "-x", "c++", "/dev/null", f"-Wl,-soname,{real.name}", "-o", real], check=True)
    script = (
        f"import ctypes; ctypes.CDLL({str(real)!r})\n"
        "from tests.edge_runtime.backends import simulated; print(simulated.missing())"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == "a real libcuda.so.1 is in use in this process\n"


@pytest.mark.parametrize(("lacking", "said"), [("g++", "g++ is not"), ("cuda.bindings", "cuda-bindings is not")])
def test_what_is_missing_is_named(lacking: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if lacking == "g++":
        monkeypatch.setenv("PATH", "")
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert simulated.missing.__wrapped__().startswith(said)


def test_tensorrt_rtx_builds_beside_it(tmp_path: Path) -> None:
    """Ahead of time and without a GPU, in a process where one has been simulated."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx is not installed, or not for this machine")
    from tests.edge_runtime.engines.test_rtx import built, written

    with simulated.present():
        start()
    assert built(written(tmp_path / "g.onnx", doubling(2))).engine.nbytes > 1000
