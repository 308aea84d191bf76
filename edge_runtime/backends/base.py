"""The backend contract: graphs whose inputs and outputs are bound once to buffers that never move.

A backend file `edge_runtime/backends/<name>.py` defines one subclass of `Backend` named `Engine`.
Calls raise only `edge_runtime.errors.BackendError`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edge_runtime.errors import BackendError

Buffer = NDArray[Any]


class Graph(ABC):
    """A loaded graph of static shapes. Write `inputs` in place, `run`, read `outputs` in place; nothing is allocated.

    An input that is fed by another graph's output is not in `inputs`: it is that output, wherever the backend keeps it.
    """

    inputs: Mapping[str, Buffer]
    outputs: Mapping[str, Buffer]

    @abstractmethod
    def run(self) -> None:
        """Compute every output from the inputs as they stand now. Releases the interpreter lock."""


class Backend(ABC):
    """Loads graphs. `threads` is how many cores one run may use."""

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads

    @abstractmethod
    def load(self, path: Path, feeds: Mapping[str, tuple[Graph, str]] | None = None) -> Graph:
        """Load an ONNX file. `feeds`: input name → (graph, output name) that fills it, without a copy.

        Raise `BackendError` for a file that cannot be read, an operator that is missing, a shape that is not static,
        and a feed whose shape or type is not the input's.
        """


def feed_sources(path: Path, inputs: Mapping[str, Buffer], feeds: Mapping[str, tuple[Graph, str]]) -> dict[str, Buffer]:
    """Input name → the output that feeds it; raise `BackendError` unless each is what the input of `path` takes."""
    return {name: _source(path, name, inputs, graph.outputs, output) for name, (graph, output) in feeds.items()}


def _source(path: Path, name: str, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer], output: str) -> Buffer:
    if name not in inputs or output not in outputs:
        raise BackendError(f"{path}: there is no output {output} to feed into an input {name}; export the bundle again")
    source, shape, dtype = outputs[output], inputs[name].shape, inputs[name].dtype
    if source.shape != shape or source.dtype != dtype:
        raise BackendError(
            f"{path}: input {name} takes {dtype} {list(shape)}, its feed gives {source.dtype} {list(source.shape)}; "
            "export the bundle again"
        )
    return source
