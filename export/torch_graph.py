"""Runs an ONNX file in PyTorch on the CPU, in the file's own types: bfloat16 stays bfloat16, float16 overflows.

ONNX Runtime's CPU computes float16 in float32 across nodes and knows no product of bfloat16, so it cannot judge such a
graph. Here every node gives the type that ONNX says, rounded once (`export.torch_ops`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from onnx import TensorProto
from torch import Tensor

from edge_runtime.backends.base import Backend, Buffer, Feeds, Graph, feed_buffers
from edge_runtime.errors import BackendError, one_line
from export.onnx_weights import DTYPES, OnnxWeight, onnx_weight, type_name
from export.torch_steps import Kind, Step, declared, graph_steps, read_graph

BUDGET_BYTES = 3_000_000_000
SMALL_BYTES = 1 << 16
"""A weight below this is kept wherever the others are."""
_BUFFERS = frozenset(DTYPES) - {TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.INT4}
"""What numpy has a type for."""

Reads = Mapping[str, Callable[[], Tensor]]


class Tap:
    """Sees every node of a graph run, and may change what it is given. This one does nothing."""

    def before(self, node: onnx.NodeProto, inputs: list[Tensor | None]) -> list[Tensor | None]:  # noqa: ARG002
        """Return what `node` takes for its inputs, these or others of the same types. They are not written to."""
        return inputs

    def after(self, node: onnx.NodeProto, outputs: list[Tensor]) -> None:
        """`outputs` are not written to."""


class Engine(Backend):
    """ONNX files in PyTorch. The weights of a graph are in memory where all of them fit into what is left of `budget`
    bytes, over all graphs; of any other graph each is read for every node that takes it, and dropped after it.

    What is smaller than `SMALL_BYTES` or stands in the graph's own file is always in memory. `tap` is called with a
    file's stem and gives the tap of its graph.
    """

    def __init__(
        self, threads: int = 1, budget: int = BUDGET_BYTES, tap: Callable[[str], Tap | None] | None = None
    ) -> None:
        super().__init__(threads)
        self._left, self._tap = budget, tap

    def load(self, path: Path, feeds: Feeds | None = None, inner: Collection[str] = ()) -> TorchGraph:  # noqa: ARG002
        model = read_graph(path)
        weights = {tensor.name: onnx_weight(path, tensor) for tensor in model.graph.initializer}
        given = _allocate(path, [value for value in model.graph.input if value.name not in weights])
        outputs = _allocate(path, model.graph.output)
        fed = feed_buffers(path, given, feeds)
        steps = graph_steps(path, model)
        del model
        tap = self._tap(path.stem) if self._tap else None
        return TorchGraph(path, steps, self._reads(weights), given, fed, outputs, tap, self.threads)

    def _reads(self, weights: Mapping[str, OnnxWeight]) -> Reads:
        """What gives each weight: memory, or its file."""
        fits = sum(weight.nbytes for weight in weights.values()) <= self._left
        kept = {name for name, w in weights.items() if fits or w.inside or w.nbytes < SMALL_BYTES}
        self._left -= sum(weights[name].nbytes for name in kept)
        return {name: _held(weight.read()) if name in kept else weight.read for name, weight in weights.items()}


class TorchGraph(Graph):
    """The nodes of one file in their order; each value is dropped after the last node that takes it."""

    def __init__(
        self,
        path: Path,
        steps: Sequence[Step],
        weights: Reads,
        given: Mapping[str, Buffer],
        fed: Mapping[str, Buffer],
        outputs: dict[str, Buffer],
        tap: Tap | None,
        threads: int,
    ) -> None:
        self.inputs = {name: buffer for name, buffer in given.items() if name not in fed}
        self.outputs = outputs
        self._path, self._steps, self._weights, self._tap, self._threads = path, steps, weights, tap, threads
        self._given = {name: torch.from_numpy(buffer) for name, buffer in {**given, **fed}.items()}
        self._results = {name: torch.from_numpy(buffer) for name, buffer in outputs.items()}

    @torch.no_grad()
    def run(self) -> None:
        values = dict(self._given)
        with _threads(self._threads):
            for step in self._steps:
                values.update(zip(step.outputs, self._run(step, values), strict=True))
                for name in step.last:
                    del values[name]
        for name, buffer in self._results.items():
            buffer.copy_(self._value(name, values))

    def _run(self, step: Step, values: Mapping[str, Tensor]) -> list[Tensor]:
        inputs = [self._value(name, values) if name else None for name in step.inputs]
        if self._tap is not None:
            inputs = self._tap.before(step.node, inputs)
        try:
            found = step.compute(*inputs)
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise BackendError(f"{self._path}: {step.said} failed: {one_line(error)}") from error
        outputs = [found] if isinstance(found, Tensor) else list(found)
        made = tuple((tensor.dtype, tuple(tensor.shape)) for tensor in outputs)
        if made != step.made:
            raise BackendError(f"{self._path}: {step.said} gave {_kinds(made)}, the graph says {_kinds(step.made)}")
        if self._tap is not None:
            self._tap.after(step.node, outputs)
        return outputs

    def _value(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        return self._weights[name]() if name in self._weights else values[name]


def _held(tensor: Tensor) -> Callable[[], Tensor]:
    return lambda: tensor


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """How many cores torch may use in here."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _allocate(path: Path, values: Sequence[onnx.ValueInfoProto]) -> dict[str, Buffer]:
    """A zeroed buffer for every input or output."""
    buffers: dict[str, Buffer] = {}
    for value in values:
        kind, shape = declared(value)
        if kind not in _BUFFERS:
            raise BackendError(f"{path}: {value.name} is {type_name(kind)}, which numpy has no type for")
        if shape is None:
            raise BackendError(f"{path}: {value.name} has sizes that are not numbers; shapes must be static")
        try:
            buffers[value.name] = torch.zeros(shape, dtype=DTYPES[kind]).numpy()
        except RuntimeError as error:
            raise BackendError(f"{path}: {value.name} is too large: {list(shape)}") from error
    return buffers


def _kinds(made: Sequence[Kind]) -> str:
    return ", ".join(f"{str(dtype).removeprefix('torch.')} {list(shape)}" for dtype, shape in made)
