"""Memory of a fixed shape and place, which graphs and steps read and write."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Shaped(Protocol):
    """Whatever has a shape and a type: an array, a `Tensor`, a `Kind`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...


class Kind(NamedTuple):
    """Shape and type of memory that is not there yet."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, eq=False)
class Tensor:
    """Row-major memory at `address`, as whatever runs a program sees it; it lives as long as `owner`.

    `array`: the same memory as the CPU sees it, None where it does not.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    address: int
    array: NDArray[Any] | None
    owner: object

    @classmethod
    def of(cls, array: NDArray[Any]) -> Tensor:
        """The memory of `array`, which is contiguous."""
        assert array.flags.c_contiguous
        return cls(array.shape, array.dtype, array.ctypes.data, array, array)

    @property
    def size(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def host(self) -> NDArray[Any]:
        """`array`, of a tensor that the CPU sees."""
        assert self.array is not None
        return self.array

    def __getitem__(self, at: int | slice) -> Tensor:
        """Row `at` of the first axis, or consecutive rows: the same memory."""
        begin, end, step = (slice(at, at + 1) if isinstance(at, int) else at).indices(self.shape[0])
        assert begin < end, f"row {at} of {self.shape[0]}"
        assert step == 1
        rest = self.shape[1:]
        return replace(
            self,
            shape=rest if isinstance(at, int) else (end - begin, *rest),
            address=self.address + begin * math.prod(rest) * self.dtype.itemsize,
            array=None if self.array is None else self.array[at],
        )
