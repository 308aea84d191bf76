"""The backend contract: graphs bound once to memory that never moves, and programs of them.

A backend file `edge_runtime/backends/<name>.py` defines one subclass of `Backend` named `Engine`.
Calls raise only `edge_runtime.errors.BackendError`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.backends.program.program import Program
from edge_runtime.backends.program.steps import Step
from edge_runtime.backends.program.tensor import Shaped, Tensor
from edge_runtime.errors import BackendError

Buffer = NDArray[Any]
Feeds = Mapping[str, tuple["Graph", str]]
"""Input name → (graph, output name) that fills it, without a copy."""


class Graph(ABC):
    """A loaded graph of static shapes. Nothing is allocated by a run.

    `inputs` is what the CPU writes, in place. An input that is fed by another graph's output is not among them: it is
    that output, wherever the backend keeps it. Nor is one of `inner`, which only steps of programs write. A backend on
    the CPU need not tell these from the others.

    `outputs` is what the last run left. A backend that keeps them elsewhere copies one when it is asked for it: ask for
    it again after the next run.
    """

    inputs: Mapping[str, Buffer]
    outputs: Mapping[str, Buffer]
    inner: Mapping[str, Tensor] = {}

    @abstractmethod
    def run(self) -> None:
        """Compute every output from the inputs as they stand now. Releases the interpreter lock."""

    def tensor(self, name: str) -> Tensor:
        """The input or output of that name that is not fed, for a step to read or write."""
        if name in self.inner:
            return self.inner[name]
        return Tensor.of(self.inputs[name] if name in self.inputs else self.outputs[name])


class Backend(ABC):
    """Loads graphs and runs programs of them. `threads` is how many cores one run may use.

    Memory is on the CPU, and programs run there, unless a backend says otherwise.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads

    @abstractmethod
    def load(self, path: Path, feeds: Feeds | None = None, inner: Collection[str] = ()) -> Graph:
        """Load an ONNX file. `inner` names inputs, such as it has of them, that only steps of programs will write.

        Raise `BackendError` for a file that cannot be read, an operator that is missing, a shape that is not static,
        and a feed whose shape or type is not the input's.
        """

    def shared(self, shape: tuple[int, ...], dtype: type[np.generic]) -> Tensor:
        """Zeroed memory that the CPU and steps read and write: on a GPU's machine it is page-locked."""
        return Tensor.of(np.zeros(shape, dtype))

    def private(self, shape: tuple[int, ...], dtype: type[np.generic]) -> Tensor:
        """Zeroed memory that only steps read and write."""
        return self.shared(shape, dtype)

    def constant(self, values: NDArray[Any]) -> Tensor:
        """Memory that holds `values` and that nothing writes."""
        return Tensor.of(np.ascontiguousarray(values))

    def program(self, steps: Iterable[Step]) -> Program:
        """These steps, over graphs and memory of this backend, made ready to run: nothing but outputs has changed."""
        return Program(steps)


class Wrapped(Backend):
    """A backend like `inner`, of which a subclass changes how graphs are loaded."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner.threads)
        self.wrapped = inner

    def shared(self, shape: tuple[int, ...], dtype: type[np.generic]) -> Tensor:
        return self.wrapped.shared(shape, dtype)

    def private(self, shape: tuple[int, ...], dtype: type[np.generic]) -> Tensor:
        return self.wrapped.private(shape, dtype)

    def constant(self, values: NDArray[Any]) -> Tensor:
        return self.wrapped.constant(values)

    def program(self, steps: Iterable[Step]) -> Program:
        return self.wrapped.program(steps)


def feed_buffers(path: Path, inputs: Mapping[str, Buffer], feeds: Feeds | None) -> dict[str, Buffer]:
    """`feed_sources` of a backend that keeps everything where the CPU sees it."""
    return {name: source.host for name, source in feed_sources(path, inputs, feeds or {}).items()}


def feed_sources(path: Path, inputs: Mapping[str, Shaped], feeds: Feeds) -> dict[str, Tensor]:
    """Input name → the output that feeds it; raise `BackendError` unless each is what the input of `path` takes."""
    return {name: _source(path, name, inputs.get(name), graph, output) for name, (graph, output) in feeds.items()}


def _source(path: Path, name: str, wanted: Shaped | None, graph: Graph, output: str) -> Tensor:
    if wanted is None or output not in graph.outputs:
        raise BackendError(f"{path}: there is no output {output} to feed into an input {name}; export the bundle again")
    source = graph.tensor(output)
    if source.shape != wanted.shape or source.dtype != wanted.dtype:
        raise BackendError(
            f"{path}: input {name} takes {wanted.dtype} {list(wanted.shape)}, its feed gives {source.dtype} "
            f"{list(source.shape)}; export the bundle again"
        )
    return source
