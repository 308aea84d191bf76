"""The GPU of this machine, through pycuda: what it is, memory that it and the CPU both see, a stream to work on.

Not run on hardware yet: held to a fake of pycuda in the tests.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import BackendError


@dataclass(frozen=True)
class Shared:
    """Memory that the CPU sees as `array` and the GPU at `address`; it never moves."""

    array: NDArray[Any]
    address: int


class Gpu:
    """GPU 0. `arch` is its compute capability, "sm87".

    Work goes through the primary context, which TensorRT uses too, pushed in whichever thread does it.
    """

    def __init__(self, driver: Any) -> None:
        driver.init()
        device = driver.Device(0)
        self._driver = driver
        self._primary = device.retain_primary_context()
        self.name: str = device.name()
        self.arch = "sm{}{}".format(*device.compute_capability())
        self.error: type[Exception] = driver.Error

    @contextmanager
    def current(self) -> Iterator[None]:
        """Within the block this thread works on this GPU."""
        self._primary.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    def shared(self, shape: tuple[int, ...], dtype: type[np.generic]) -> Shared:
        """Zeroed page-locked memory, mapped into the GPU's address space: on a Jetson the same memory, no copy."""
        with self.current():
            flags = self._driver.host_alloc_flags.DEVICEMAP
            array = self._driver.pagelocked_zeros(shape, dtype, mem_flags=flags)
            return Shared(array, int(array.base.get_device_pointer()))

    def stream(self) -> Any:
        """A stream of its own: TensorRT waits for the whole device on the default one."""
        with self.current():
            return self._driver.Stream()


@functools.cache
def gpu() -> Gpu:
    """The GPU of this machine; `BackendError` where there is none, or what reaches it is not installed."""
    try:
        from pycuda import driver
    except ImportError as error:
        raise BackendError(
            f"no GPU can be reached from here: {' '.join(str(error).split())}; pip install pycuda on it"
        ) from error
    try:
        return Gpu(driver)
    except driver.Error as error:
        raise BackendError(
            f"no GPU can be reached from here: {' '.join(str(error).split())}; is its driver loaded?"
        ) from error
