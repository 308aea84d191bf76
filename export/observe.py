"""Runs a float32 bundle's policy over observations and remembers the ranges of everything that it computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import onnx_ir as ir
from torch import Tensor

from calibration.ranges import InputRange
from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import GUIDE
from edge_runtime.policies.runners import runner
from edge_runtime.probes import Probe
from edge_runtime.verify import answer
from export.errors import ExportError
from export.half import PRODUCTS, TYPES, brings, lower
from export.layers import Layer, layers, parts_of_nodes
from export.stored_graph import load_graph
from export.torch_graph import Engine, Tap


@dataclass
class Observed:
    """`inputs`: layer → what its input was. `largest`: graph → value → its largest magnitude, where it is a float."""

    inputs: dict[str, InputRange] = field(default_factory=dict)
    largest: dict[str, dict[str, float]] = field(default_factory=dict)


def graph_files(bundle: Bundle) -> dict[str, Path]:
    """The graphs that may be in other precisions: the image graph has no weights, the guide graph stays in float32."""
    return {name: bundle.graph(name) for name in bundle.manifest.graphs if name not in ("image", GUIDE)}


def bundle_layers(bundle: Bundle) -> dict[str, list[Layer]]:
    """Layers that may be quantized, by graph."""
    return {name: layers(load_graph(path).graph) for name, path in graph_files(bundle).items()}


def observe(
    bundle: Bundle,
    found: Mapping[str, Sequence[Layer]],
    probes: Sequence[Probe],
    threads: int,
    told: Callable[[float], None],
) -> Observed:
    """Ranges over all `probes` of the layers that were `found` by graph (`bundle_layers`).

    Raise `ExportError` that names the layer whose input was not finite.
    """
    observed = Observed()
    names = {path.stem: name for name, path in graph_files(bundle).items()}

    def tap(stem: str) -> Tap | None:
        return _Ranges(observed, names[stem], found[names[stem]]) if stem in names else None

    policy = runner(bundle, Engine(threads, tap=tap), on_malformed="pad")
    for done, probe in enumerate(probes):
        told(done / len(probes))
        answer(policy, probe)
    return observed


class _Ranges(Tap):
    """Adds what one graph computes."""

    def __init__(self, observed: Observed, graph: str, found: Sequence[Layer]) -> None:
        self._inputs, self._widths = observed.inputs, {layer.name: layer.width for layer in found}
        self._largest = observed.largest.setdefault(graph, {})

    def before(self, node: onnx.NodeProto, inputs: list[Tensor | None]) -> list[Tensor | None]:
        name = node.input[1] if len(node.input) > 1 else ""
        x = inputs[0] if name in self._widths and node.op_type in ("MatMul", "Gemm") else None
        if x is not None:
            try:
                self._inputs.setdefault(name, InputRange(self._widths[name])).add(x.numpy())
            except ValueError as error:
                raise ExportError(f"{name}: what it is given is not finite ({error})") from error
        return inputs

    def after(self, node: onnx.NodeProto, outputs: list[Tensor]) -> None:
        for name, tensor in zip(node.output, outputs, strict=False):
            if tensor.is_floating_point() and tensor.numel():
                largest = float(tensor.abs().max())
                if not math.isfinite(largest):
                    raise ExportError(f"{name}: is not finite in float32; calibrate with other observations")
                self._largest[name] = max(self._largest.get(name, 0.0), largest)


def largest_in_half(bundle: Bundle, observed: Observed, parts: Iterable[str]) -> dict[str, tuple[float, str]]:
    """Part → the largest magnitude that would be in float16 by its doing, and where, if the floats of all `parts` were.

    All at once: a residual stream that begins in one part is in half only where the others that add to it are too.
    """
    found: dict[str, tuple[float, str]] = {}
    half = dict.fromkeys(parts, TYPES["fp16"])
    for name, path in graph_files(bundle).items():
        graph = load_graph(path).graph
        lower(graph, half)
        for value, causes in _in_half(graph).items():
            magnitude = observed.largest[name].get(value, 0.0)
            for part in causes:
                found[part] = max(found.get(part, (0.0, "")), (magnitude, f"{name}: {value}"))
    return found


def _in_half(graph: ir.Graph) -> dict[str, frozenset[str]]:
    """What values in float16 were called before they were so → the parts whose products and tables they come of."""
    parts = dict(parts_of_nodes(graph))
    causes: dict[ir.Value, frozenset[str]] = {}
    for node, part in parts.items():
        for value in node.outputs:
            if value.dtype is TYPES["fp16"]:
                given = frozenset().union(*(causes.get(v, frozenset()) for v in node.inputs if v is not None))
                if node.op_type == "Cast":  # for the products that read it
                    given = frozenset(_readers(value, parts))
                causes[value] = frozenset({part}) if node.op_type in PRODUCTS or not given else given
    return {str(v.name).removesuffix(".float16").removesuffix(".half"): found for v, found in causes.items()}


def _readers(value: ir.Value, parts: Mapping[ir.Node, str]) -> Iterator[str]:
    """The parts of what reads a value, wherever it is moved to."""
    for use in value.uses():
        if brings(use.node):
            for output in use.node.outputs:
                yield from _readers(output, parts)
        else:
            yield parts[use.node]
