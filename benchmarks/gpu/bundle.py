"""A bundle of full size in a minute or two: graphs of random weights, in bfloat16 as `export.half` lowers them.

Nothing is read, and no reference runs here: what the bundle's probes are held to is PyTorch's answer on the GPU
(`benchmarks.gpu.pytorch`), which is written into it before it is sealed.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.gpu.models import MODELS, Model, observations
from benchmarks.gpu.weights import as_float, random_weights
from edge_runtime.accuracy import FILE as ACCURACY
from edge_runtime.accuracy import QUANTIZED_GATE, Accuracy, action_errors
from edge_runtime.bundle import seal
from edge_runtime.bundle_spec import Cost, Manifest, Source
from edge_runtime.probes import FILE as PROBES
from edge_runtime.probes import Probe, write_probes
from export import reference
from export.checkpoint import Checkpoint
from export.family import family
from export.graphs import ModelGraph
from export.half import TYPES, lower
from export.image import ImageGraph
from export.initializers import fold_constants, give_values
from export.json_file import write_json
from export.layers import ALL_PARTS
from export.loading import empty_model
from export.onnx_file import IR_VERSION, Written, save_graph, write_onnx
from export.pipeline import CONSTANTS, MODEL
from export.tracing import traced
from export.weights import Weights

PRECISION = "bf16"
"""Of the graphs that are timed."""
COSTS = "costs.json"
"""What the graphs cost, beside them until the bundle is sealed."""
ANSWERS = 2
"""Probes of a bundle."""


def make(name: str, cameras: int, folder: str) -> dict[str, Any]:
    """Write the graphs and constants of a model of `MODELS` into `folder`; what that took."""
    began = time.monotonic()
    costs = write_graphs(MODELS[name], cameras, Path(folder), PRECISION)
    return {"seconds": round(time.monotonic() - began, 1), "bytes": sum(cost.bytes for cost in costs.values())}


def write_graphs(model: Model, cameras: int, folder: Path, precision: str) -> dict[str, Written]:
    """Everything of a bundle but its probes; floats that are no frames' in `precision`, as `export.half` has it."""
    folder.mkdir(parents=True, exist_ok=True)
    source = model.checkpoint(cameras)
    empty = empty_model(source)
    weights = random_weights(empty)
    _write_constants(empty, as_float(weights), source, folder)
    image = image_graph(source)
    written = {"image": write_onnx(image, image.signature(), folder / "image.onnx")}
    for name, graph in family(source.family).graphs(empty, source).items():
        written[name] = _write_graph(graph, folder / f"{name}.onnx", as_float(weights, MODEL), precision)
    (folder / COSTS).write_text(json.dumps({name: vars(cost) for name, cost in written.items()}))
    return written


def image_graph(source: Checkpoint) -> ImageGraph:
    """The cameras' frames → pixels."""
    return ImageGraph({c.name: (c.height, c.width) for c in source.spec.cameras}, source.image)


def _write_constants(empty: nn.Module, weights: Weights, source: Checkpoint, folder: Path) -> None:
    with reference.reading(empty, weights), torch.no_grad():
        constants = family(source.family).constants(empty, source)
    save_file({name: tensor.contiguous() for name, tensor in constants.items()}, folder / CONSTANTS)


def _write_graph(graph: ModelGraph, path: Path, weights: Weights, precision: str) -> Written:
    signature = graph.signature()
    made = traced(graph, signature.inputs, signature.outputs)
    give_values(made.graph, weights)
    fold_constants(made.graph)
    lower(made.graph, dict.fromkeys(ALL_PARTS, TYPES[precision]))
    made.ir_version = IR_VERSION
    return save_graph(made, path)


def finish(model: Model, cameras: int, folder: Path, answers: dict[str, np.ndarray[Any, Any]]) -> Path:
    """Seal the bundle in `folder`: its probes are `observations` and PyTorch's `answers` to them (`pytorch.Answers`).

    `answers` are what `benchmarks.gpu.eager` wrote: "actions" [n, horizon, dims] in bfloat16 and "exact_actions" in
    float32, or nothing where PyTorch did not run or wrote tokens: then the probes say zero, and no answer can be right.
    Nobody holds random weights to a gate: accepted.
    """
    spec = model.checkpoint(cameras).spec
    zeros = np.zeros((ANSWERS, spec.horizon, spec.action.dims), np.float32)
    found = answers.get("actions", zeros)
    exact = answers.get("exact_actions", found)
    given = list(observations(spec, model.config.vocab, ANSWERS))
    write_probes(
        folder / PROBES, [Probe(one.observation, one.noise, rows) for one, rows in zip(given, exact, strict=True)]
    )
    errors = action_errors(spec, list(found), list(exact), QUANTIZED_GATE)
    said = "PyTorch's float32, of bfloat16" if "exact_actions" in answers else "nothing"
    write_json(folder / ACCURACY, Accuracy(errors.verdict, said, f"{ANSWERS} random observations", {}, errors))
    costs = json.loads((folder / COSTS).read_text())
    (folder / COSTS).unlink()
    seal(folder, _manifest(model, spec, {name: Cost(**cost) for name, cost in costs.items()}))
    return folder


def _manifest(model: Model, spec: Any, costs: dict[str, Cost]) -> Manifest:
    return Manifest(
        source=Source(model.family, "random weights", "", "assumed"),
        spec=spec,
        graphs={name: f"{name}.onnx" for name in costs},
        costs=costs,
        constants=CONSTANTS,
        tokenizer="",
        accuracy=ACCURACY,
        probes=PROBES,
        verdict="accepted",
    )
