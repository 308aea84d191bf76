"""Runs a graph whose weights do not fit into memory: one piece after the other, each a model of its own."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edge_runtime.backends import ort
from edge_runtime.backends.base import Backend, Buffer, Feeds, Graph, feed_buffers
from edge_runtime.errors import BackendError, one_line

BUDGET_BYTES = 1_500_000_000


class Engine(Backend):
    """ONNX Runtime for graphs of any size: at most `budget` bytes of weights are loaded at once.

    One initializer may be larger than that. A graph whose weights fit is loaded once, as the robot loads it; of any
    other, `run` loads one piece after the other, from the weights where they are, and carries what crosses a cut.
    """

    def __init__(self, threads: int = 1, budget: int = BUDGET_BYTES) -> None:
        super().__init__(threads)
        self.budget = budget

    def load(self, path: Path, feeds: Feeds | None = None, inner: Collection[str] = ()) -> Graph:  # noqa: ARG002
        model = _read(path)
        if sum(_nbytes(tensor) for tensor in model.graph.initializer) <= self.budget:
            del model
            return ort.Engine(self.threads).load(path, feeds)
        inputs, outputs = _allocate(path, model.graph.input), _allocate(path, model.graph.output)
        fed = feed_buffers(path, inputs, feeds)
        return PiecedGraph(path, list(pieces(model, self.budget)), inputs | fed, set(fed), outputs, self.threads)


@dataclass(frozen=True)
class Piece:
    """A part of a graph as a model: it refers to the weights of the whole."""

    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class PiecedGraph(Graph):
    """Consecutive pieces of one graph."""

    def __init__(
        self,
        path: Path,
        parts: Sequence[Piece],
        inputs: dict[str, Buffer],
        fed: set[str],
        outputs: dict[str, Buffer],
        threads: int,
    ) -> None:
        self.inputs = {name: buffer for name, buffer in inputs.items() if name not in fed}
        self.outputs = outputs
        self._given, self._path, self._pieces, self._threads = inputs, path, parts, threads

    def run(self) -> None:
        values: dict[str, Buffer] = dict(self._given)
        for i, piece in enumerate(self._pieces):
            values.update(self._run(piece, values))
            later = {name for p in self._pieces[i + 1 :] for name in p.inputs} | self.outputs.keys()
            values = {name: value for name, value in values.items() if name in later}
        for name, buffer in self.outputs.items():
            np.copyto(buffer, values[name])

    def _run(self, piece: Piece, values: Mapping[str, Buffer]) -> dict[str, Buffer]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.enable_cpu_mem_arena = False  # gives back what it took
        options.log_severity_level = 4
        options.add_session_config_entry("session.disable_prepacking", "1")  # no second copy of the weights
        options.add_session_config_entry("session.x64quantprecision", "1")  # as the robot does
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(self._path.parent))
        try:
            session = onnxruntime.InferenceSession(piece.model, options, providers=["CPUExecutionProvider"])
            found = session.run(list(piece.outputs), {name: values[name] for name in piece.inputs})
        except Exception as error:  # the runtime raises a handful of classes without a common base
            raise BackendError(f"{self._path}: a piece of it failed: {one_line(error)}") from error
        return dict(zip(piece.outputs, found, strict=True))


def pieces(model: onnx.ModelProto, budget: int) -> Iterator[Piece]:
    """Cut a graph of static shapes between nodes, in their order, whenever the weights would exceed `budget` bytes."""
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    values = {value.name: value for value in (*graph.input, *graph.output, *graph.value_info)}
    parts = list(_cut(graph.node, weights, budget))
    kept = {value.name for value in graph.output}
    needed: list[set[str]] = []
    for part in reversed(parts):  # what a piece must leave is what later ones read
        needed.append(set(kept))
        kept |= {name for node in part for name in _reads(node)}
    for part, later in zip(parts, reversed(needed), strict=True):
        reads = dict.fromkeys(name for node in part for name in _reads(node))
        made = dict.fromkeys(name for node in part for name in node.output)
        inputs = [values[name] for name in reads if name not in made and name not in weights and name in values]
        outputs = [values[name] for name in made if name in later]
        used = [weights[name] for name in reads if name in weights]
        piece = onnx.helper.make_model(
            onnx.helper.make_graph(part, graph.name, inputs, outputs, used),
            opset_imports=model.opset_import,
            ir_version=model.ir_version,
        )
        names = tuple(v.name for v in inputs), tuple(v.name for v in outputs)
        yield Piece(piece.SerializeToString(), *names)


def _cut(
    nodes: Sequence[onnx.NodeProto], weights: Mapping[str, onnx.TensorProto], budget: int
) -> Iterator[list[onnx.NodeProto]]:
    part: list[onnx.NodeProto] = []
    held: set[str] = set()
    size = 0
    for node in nodes:
        own = {name: _nbytes(weights[name]) for name in _reads(node) if name in weights}
        more = sum(nbytes for name, nbytes in own.items() if name not in held)
        if held and size + more > budget:
            yield part
            part, held, size = [], set(), 0
            more = sum(own.values())
        part.append(node)
        held.update(own)
        size += more
    yield part


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, its subgraphs included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)


def _nbytes(tensor: onnx.TensorProto) -> int:
    return int(math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _read(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:  # whatever its bytes lead to
        raise BackendError(f"{path}: cannot be read ({one_line(error, 200)}); export it again") from error


def _allocate(path: Path, values: Sequence[Any]) -> dict[str, Buffer]:
    """A zeroed buffer for every input or output."""
    buffers: dict[str, Buffer] = {}
    for value in values:
        kind = value.type.tensor_type
        if not all(dim.HasField("dim_value") for dim in kind.shape.dim):
            raise BackendError(f"{path}: {value.name} has a shape that is not static")
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        buffers[value.name] = np.zeros([dim.dim_value for dim in kind.shape.dim], dtype)
    return buffers
