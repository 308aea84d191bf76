"""A graph on the GPU: where its inputs and outputs are, and what is copied when.

What the CPU writes is page-locked. Where it and the GPU share their memory, a graph reads it in place. A card would
read it across the bus, so there a program begins by copying it to the card. Everything else, keys and values among it,
is in the GPU's own memory.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from edge_runtime.backends.base import Buffer, Feeds, Graph, feed_sources
from edge_runtime.backends.cuda import kernels
from edge_runtime.backends.cuda.driver import CudaError, refusal
from edge_runtime.backends.cuda.gpu import gpu
from edge_runtime.backends.program.steps import Copy
from edge_runtime.backends.program.tensor import Kind, Tensor
from edge_runtime.errors import BackendError

WARM_UPS = 2
"""Runs before a capture: a library allocates, tunes and loads kernels in its first ones, which a capture forbids."""


class GpuGraph(Graph):
    """The graph of the file at `path`, which takes `given` and makes `made`. `at`: where each of its tensors is."""

    def __init__(
        self, path: Path, given: Mapping[str, Kind], made: Mapping[str, Kind], feeds: Feeds, inner: Collection[str]
    ) -> None:
        here = gpu()
        self.path = path
        fed = self._fed(given, feeds)
        own = {name: kind for name, kind in given.items() if name not in fed}
        written = {name: kind for name, kind in own.items() if name not in inner}
        self.inner = self._each(here.private, {name: kind for name, kind in own.items() if name in inner})
        pinned = self._each(here.shared, written)
        read = pinned if here.integrated else self._each(here.private, written)
        self.inputs = {name: tensor.host for name, tensor in pinned.items()}
        self._made = self._each(here.private, made)
        self.outputs = _Fetched(self._made)
        self.at: Mapping[str, Tensor] = {**fed, **self.inner, **read, **self._made}
        self._pinned = pinned  # lives as long as its arrays
        self.uploads = tuple(Copy(pinned[name], read[name]) for name in read if read[name] is not pinned[name])
        """What brings `inputs` to the GPU."""
        self._cold = WARM_UPS

    def warm_up(self) -> None:
        """Run it as often as a capture needs it to have run. The GPU is current."""
        for _ in range(self._cold):
            self.enqueue()
            gpu().wait()
            self._cold -= 1

    @abstractmethod
    def enqueue(self) -> None:
        """Put the graph's work on the stream and return before it is done. The GPU is current."""

    def run(self) -> None:
        here = gpu()
        try:
            with here.current():
                for upload in self.uploads:
                    kernels.enqueue(upload)
                self.enqueue()
                here.wait()
        except CudaError as error:
            raise refusal(error, f"{self.path}: failed while it ran") from error

    def tensor(self, name: str) -> Tensor:
        return self.at[name]

    def _each(
        self, allocate: Callable[[tuple[int, ...], np.dtype[np.generic], str], Tensor], kinds: Mapping[str, Kind]
    ) -> dict[str, Tensor]:
        return {name: allocate(*kind, f"{self.path}: {name}") for name, kind in kinds.items()}

    def _fed(self, given: Mapping[str, Kind], feeds: Feeds) -> dict[str, Tensor]:
        for name, (graph, _) in feeds.items():
            if not isinstance(graph, GpuGraph):
                raise BackendError(f"{self.path}: input {name} is fed by a graph that is not on the GPU")
        return feed_sources(self.path, given, feeds)


class _Fetched(Mapping[str, Buffer]):
    """Outputs, each copied to the CPU when it is asked for."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> Buffer:
        return gpu().copied(self._tensors[name])

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
