"""Float32 bundle + observations → verified bundle in low precision. All of it or nothing; the original is only read."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from calibration.observations import Samples
from edge_runtime.accuracy import FILE as ACCURACY
from edge_runtime.accuracy import Accuracy, ClosedLoop
from edge_runtime.bundle import MANIFEST, Bundle, open_bundle, seal
from edge_runtime.bundle_spec import Cost, Manifest, Quantization
from edge_runtime.layer_table import LayerRow, LayerTable
from edge_runtime.probes import FILE as PROBES
from edge_runtime.probes import write_probes
from edge_runtime.targets import target
from export import pieces
from export.errors import ExportError
from export.json_file import write_json
from export.judge import as_probes, engine_for, judge
from export.layers import Layer, part_of
from export.observe import Observed, bundle_layers, graph_files, largest_in_half, observe
from export.onnx_file import save_graph
from export.precision import Parts, asked_parts, layer_precision, may_be_fp16, planned_parts, settle
from export.quantize import BLOCK, Recipe, quantize
from export.recipe import Ranges, make_recipe
from export.sensitivity import measure_of, sensitivities
from export.staging import staged
from export.steps import Progress, Steps
from export.stored_graph import load_graph

TABLE = "layers.json"
SENSITIVITY_OBSERVATIONS = 2
"""Of the calibration set, for the sensitivity table: each is run once for every layer."""


@dataclass(frozen=True)
class Asked:
    """What a person chose. `precision`: "PART=PRECISION"; `keep_fp`: how many of the most sensitive layers stay in
    floating point; `accept`: seal the bundle even where its accuracy fails the gate."""

    target: str
    precision: tuple[str, ...] = ()
    ranges: Ranges = "smooth"
    block: int = BLOCK
    keep_fp: int = 0
    sensitivity: bool = True
    accept: bool = False
    seed: int = 0
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)


def quantize_bundle(
    origin: Path,
    samples: Callable[[Bundle, Callable[[float], None]], Samples],
    out: Path,
    asked: Asked,
    progress: Progress | None = None,
    closed_loop: Callable[[Path], ClosedLoop] | None = None,
) -> Path:
    """Quantize the bundle at `origin` into one at `out`, and return `out`.

    `samples` is called with the bundle, and with what is to hear which part is done, and gives the observations.
    `closed_loop` is called with the path of the new bundle, where there is a simulation to judge it in. Raises
    `EdgeError`s, one line each, and leaves nothing behind then; an existing bundle at `out` is replaced when the new
    one is sealed.
    """
    steps = Steps(progress, "bundle")
    on = target(asked.target)
    wanted = asked_parts(on, asked.precision)
    if asked.keep_fp and not asked.sensitivity:
        raise ExportError("--keep-fp: needs the sensitivity table; leave --no-sensitivity out")
    _refuse_place(origin, out)
    with staged(out, marker=MANIFEST) as new:
        bundle = _original(origin)
        found = bundle_layers(bundle)
        planned = planned_parts(on, wanted, _present(bundle))
        steps.names = ("bundle", "observations", "ranges", *(["sensitivity"] if asked.sensitivity else []))
        steps.names += (*found, "verification", "seal", *(["closed loop"] if closed_loop else []))
        _refuse_layers(asked, planned, found)
        steps.begin("observations")
        seen = samples(bundle, steps.say)
        calibration, held_out = as_probes(bundle, seen, asked.seed)
        steps.begin("ranges")
        observed = observe(bundle, found, calibration, asked.threads, steps.say)
        parts = settle(on, planned, largest_in_half(bundle, observed, may_be_fp16(planned)))
        recipe = _recipe(found, observed, parts, asked, ())
        sensitive: dict[str, float] = {}
        some = calibration[:SENSITIVITY_OBSERVATIONS] if asked.sensitivity else []
        if some:
            steps.begin("sensitivity")
            sensitive = sensitivities(bundle, _each(found).values(), recipe, some, asked.threads, steps.say)
        kept = sorted(sensitive, key=lambda name: -sensitive[name])[: asked.keep_fp]
        if kept:
            recipe = _recipe(found, observed, parts, asked, kept)
        costs = _write_graphs(bundle, recipe, new, steps)
        _copy_rest(bundle, new)
        rows = _rows(_each(found), observed, recipe, parts, sensitive)
        write_json(new / TABLE, LayerTable(len(some), measure_of(bundle), rows))
        made = Bundle(new, _manifest(bundle, asked, seen, parts, costs, len(kept)))
        steps.begin("verification")
        engine = engine_for(made.manifest, asked.threads)
        accuracy, probes = judge(made, bundle, engine, pieces.Engine(asked.threads), held_out, steps.say)
        finite = math.isfinite(accuracy.actions.max)
        if accuracy.verdict != "pass" and not (asked.accept and finite):
            raise ExportError(_refusal(accuracy) if finite else "accuracy: actions are not finite; nothing was written")
        steps.begin("seal")
        write_probes(new / PROBES, probes)
        _seal(made, accuracy)
        if closed_loop is not None:
            steps.begin("closed loop")
            _seal(made, msgspec.structs.replace(accuracy, closed_loop=closed_loop(new)))
    steps.begin("done")
    return out


def _refuse_place(origin: Path, out: Path) -> None:
    """`ExportError` where writing to `out` would change the original."""
    old, new = origin.resolve(), out.resolve()
    if old == new:
        raise ExportError(f"{out}: is the original itself; give the new bundle another place")
    if old in new.parents or new in old.parents:
        raise ExportError(f"{out}: one bundle would be inside the other; give the new one another place")


def _original(origin: Path) -> Bundle:
    bundle = open_bundle(origin)
    if bundle.manifest.quantization is not None:
        made_for = bundle.manifest.quantization.target
        raise ExportError(f"{origin}: is already quantized, for {made_for}; quantize the bundle that it was made of")
    return bundle


def _present(bundle: Bundle) -> set[str]:
    """The parts that the bundle's graphs have weights of."""
    names = (name for path in graph_files(bundle).values() for name in load_graph(path).graph.initializers)
    return {part_of(str(name)) for name in names if str(name).startswith("model.")}


def _refuse_layers(asked: Asked, planned: Mapping[str, str], found: Mapping[str, Sequence[Layer]]) -> None:
    """`ExportError` for what no observation can change."""
    quantized = layer_precision(planned, _each(found).values(), (), asked.block)
    if asked.keep_fp > len(quantized):
        raise ExportError(f"--keep-fp {asked.keep_fp}: there are {len(quantized)} layers to be quantized")


def _each(found: Mapping[str, Sequence[Layer]]) -> dict[str, Layer]:
    """Layers by name, those of several graphs once."""
    return {layer.name: layer for layers in found.values() for layer in layers}


def _recipe(
    found: Mapping[str, Sequence[Layer]], observed: Observed, parts: Parts, asked: Asked, kept: Sequence[str]
) -> Recipe:
    precision = layer_precision(parts.precision, _each(found).values(), kept, asked.block)
    return make_recipe(found.values(), observed.inputs, precision, parts, asked.ranges, asked.block)


def _write_graphs(bundle: Bundle, recipe: Recipe, new: Path, steps: Steps) -> dict[str, Cost]:
    costs = dict(bundle.manifest.costs)
    for name, path in graph_files(bundle).items():
        steps.begin(name)
        model = load_graph(path)
        quantize(model, recipe)
        steps.count(model.graph)
        there = new / bundle.manifest.graphs[name]
        there.parent.mkdir(parents=True, exist_ok=True)
        written = save_graph(model, there)
        parameters = bundle.manifest.costs[name].parameters  # scales and zero points are none
        costs[name] = Cost(parameters, written.precision, written.bytes, written.flops)
    return costs


def _copy_rest(bundle: Bundle, new: Path) -> None:
    """What does not depend on precision."""
    again = {bundle.manifest.graphs[name] for name in graph_files(bundle)}
    again |= {f"{name}.data" for name in again} | {bundle.manifest.accuracy, bundle.manifest.probes}
    for name in bundle.manifest.files:
        if name not in again:
            there = new / name
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path / name, there)


def _rows(
    every: Mapping[str, Layer], observed: Observed, recipe: Recipe, parts: Parts, sensitive: Mapping[str, float]
) -> tuple[LayerRow, ...]:
    rows = [
        LayerRow(
            name=name,
            part=layer.part,
            precision=recipe.precision.get(name, parts.floats[layer.part]),
            shape=(layer.width, layer.shape[layer.out_axis]),
            largest=observed.inputs[name].maximum() if name in observed.inputs else 0.0,
            level=recipe.inputs[name] if recipe.precision.get(name, "int4") != "int4" else 0.0,
            sensitivity=sensitive.get(name),
        )
        for name, layer in every.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-(row.sensitivity or 0.0), row.name)))


def _manifest(bundle: Bundle, asked: Asked, seen: Samples, parts: Parts, costs: dict[str, Cost], kept: int) -> Manifest:
    old = bundle.manifest
    quantization = Quantization(
        target=asked.target,
        origin=old.seal,
        parts=parts.precision,
        floats=parts.floats,
        ranges=asked.ranges,
        block=asked.block,
        kept=kept,
        table=TABLE,
    )
    source = msgspec.structs.replace(old.source, calibration_sha256=seen.sha256)
    return msgspec.structs.replace(
        old, source=source, costs=costs, quantization=quantization, accuracy=ACCURACY, probes=PROBES
    )


def _seal(made: Bundle, accuracy: Accuracy) -> None:
    write_json(made.path / ACCURACY, accuracy)
    verdict: Literal["pass", "accepted"] = "pass" if accuracy.verdict == "pass" else "accepted"
    seal(made.path, msgspec.structs.replace(made.manifest, verdict=verdict))


def _refusal(accuracy: Accuracy) -> str:
    errors, gate = accuracy.actions, accuracy.actions.gate
    what = errors.fault or (
        f"actions are off by {errors.mean_share:.2%} of their ranges on the mean (gate {gate.mean_share:.0%}), "
        f"{errors.p99_share:.2%} at the 99th percentile (gate {gate.p99_share:.0%}), {errors.worst} most"
    )
    if errors.tokens_same is not None and not errors.fault:
        what += f", {errors.tokens_same:.1%} of tokens the same (gate {gate.tokens_same:.0%})"
    return f"accuracy: {what}; nothing was written: try --keep-fp, other --ranges or --precision, or --accept-accuracy"
