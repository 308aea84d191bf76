"""What stands in a program: graphs, and the few operations between them that must not go back to the CPU.

`do` is each step on the CPU, in place and without an allocation. A backend that computes elsewhere does the same there,
to the last bit: no product is fused with the sum that it goes into.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_runtime.backends.program.tensor import Tensor

if TYPE_CHECKING:
    from edge_runtime.backends.base import Graph


class Step(ABC):
    """One operation over memory that is fixed when the program is made."""

    @abstractmethod
    def do(self) -> None:
        """On the CPU, which sees all of the step's tensors."""


@dataclass(frozen=True)
class Run(Step):
    """Run `graph`, which the policy calls `name`."""

    name: str
    graph: Graph

    def do(self) -> None:
        self.graph.run()


@dataclass(frozen=True)
class Copy(Step):
    """`target` = `source`, of the same size and type."""

    source: Tensor
    target: Tensor

    def __post_init__(self) -> None:
        assert (self.source.size, self.source.dtype) == (self.target.size, self.target.dtype)

    def do(self) -> None:
        np.copyto(self.target.host.reshape(-1), self.source.host.reshape(-1))


@dataclass(frozen=True)
class Add(Step):
    """`target` += `change`·`times`, in float32; the product is rounded before it is added."""

    target: Tensor
    change: Tensor
    times: np.float32

    def __post_init__(self) -> None:
        assert self.target.shape == self.change.shape
        assert self.target.dtype == self.change.dtype == np.float32

    @cached_property
    def _product(self) -> NDArray[np.float32]:
        return np.zeros(self.target.shape, np.float32)

    def do(self) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is judged by whoever reads it
            np.multiply(self.change.host, self.times, out=self._product)
            np.add(self.target.host, self._product, out=self.target.host)


@dataclass(frozen=True)
class Remember(Step):
    """Keep one token's keys or values: slot `first` + `count` of `cache` [A, B, K, L, D] = `new` [A, B, K, 1, D].

    `mask` bool [1, L] is set there. `count` is int64 [1]: the place is known only when the step is done. A place
    outside the cache is left alone.
    """

    new: Tensor
    cache: Tensor
    mask: Tensor
    count: Tensor
    first: int

    def __post_init__(self) -> None:
        rest, length = self.cache.shape[:3], self.cache.shape[3]
        assert self.new.shape == (*rest, 1, self.cache.shape[4])
        assert self.new.dtype == self.cache.dtype
        assert self.mask.shape == (1, length)
        assert self.count.shape == (1,)
        assert self.count.dtype == np.int64

    def do(self) -> None:
        slot = self.first + int(self.count.host[0])
        if 0 <= slot < self.cache.shape[3]:
            np.copyto(self.cache.host[:, :, :, slot], self.new.host[:, :, :, 0])
            self.mask.host[0, slot] = True


@dataclass(frozen=True)
class Choose(Step):
    """Write the token of the highest logit, of equal ones the first: `token` = `written`[`count`] = it, `count` += 1.

    `ids` [n] has the token of each of the `logits` float32 [1, n]; tokens are int64, `token` is [1, 1]. Where a logit
    is not finite, `NONE` is written and `token` is the first of `ids`. Behind that, or where `written` is full, nothing
    is written.
    """

    logits: Tensor
    ids: Tensor
    token: Tensor
    written: Tensor
    count: Tensor

    def __post_init__(self) -> None:
        assert self.logits.shape == (1, self.ids.size)
        assert self.logits.dtype == np.float32
        assert self.token.size == self.count.size == 1
        assert all(t.dtype == np.int64 for t in (self.ids, self.token, self.written, self.count))

    @cached_property
    def _finite(self) -> NDArray[np.bool_]:
        return np.zeros(self.logits.shape, np.bool_)

    def do(self) -> None:
        count = int(self.count.host[0])
        if not 0 <= count < self.written.size or (count and self.written.host[count - 1] == NONE):
            return
        np.isfinite(self.logits.host, out=self._finite)
        finite = bool(self._finite.all())
        token = self.ids.host[int(self.logits.host.argmax()) if finite else 0]
        self.token.host[0, 0] = token
        self.written.host[count] = token if finite else NONE
        self.count.host[0] = count + 1


NONE = -1
"""What stands for a token that could not be chosen."""
