"""The table finds the layer that was spoiled for quantization, and says what quantizing that layer alone does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edge_runtime.accuracy import span
from edge_runtime.bundle import Bundle
from edge_runtime.policies.graph_policy import recorded
from edge_runtime.policies.runners import runner
from edge_runtime.probes import Probe
from edge_runtime.targets import target
from edge_runtime.verify import answer
from export.initializers import read_all
from export.observe import bundle_layers, observe
from export.precision import PRESETS, layer_precision, settle
from export.quantize import Recipe, quantize
from export.recipe import make_recipe
from export.sensitivity import OF_ACTIONS, OF_LOGITS, measure_of, sensitivities
from export.stored_graph import load_graph
from export.torch_graph import Engine
from tests.edge_runtime import tiny_bundle
from tests.export import quantizable
from tests.export.quantizable import LAYERS, B, E, V, Weights


def probes(bundle: Bundle) -> list[Probe]:
    return [tiny_bundle.probe(bundle.spec, seed) for seed in range(2)]


def recipe(bundle: Bundle) -> Recipe:
    """int8 in every layer, levels up to the largest."""
    found = bundle_layers(bundle)
    observed = observe(bundle, found, probes(bundle), 1, lambda part: None)
    parts = settle(target("cpu"), PRESETS["cpu"], {})
    every = [layer for layers in found.values() for layer in layers]
    precision = layer_precision(parts.precision, every, (), 16)
    return make_recipe(found.values(), observed.inputs, precision, parts, "max", 16)


def table(bundle: Bundle, told: list[float] | None = None, made: Recipe | None = None) -> dict[str, float]:
    every = [layer for layers in bundle_layers(bundle).values() for layer in layers]
    heard = [] if told is None else told
    return sensitivities(bundle, every, made or recipe(bundle), probes(bundle), 1, heard.append)


def rewrite(bundle: Bundle, name: str, made: Recipe) -> None:
    """Put the quantized graph in the place of the bundle's own."""
    model = load_graph(bundle.graph(name))
    quantize(model, made)
    read_all(model.graph)
    onnx.save(ir.serde.serialize_model(model), str(bundle.graph(name)))


def hidden_outlier(layer: str, norm: str) -> quantizable.Spoil:
    """A weight 10000 times the others in every output channel, on an input channel that is all but silent."""

    def spoil(weights: Weights) -> None:
        if layer in weights and norm in weights:
            weights[norm][0] = 1e-6
            weights[layer][0] = 1e3

    return spoil


def test_the_spoiled_layer_is_the_most_sensitive(tmp_path: Path) -> None:
    told: list[float] = []
    bundle = quantizable.regression(tmp_path, hidden_outlier(E + "gate", E + "norm"))
    found = table(bundle, told)
    assert set(found) == set(LAYERS)
    first, second = sorted(found, key=lambda name: -found[name])[:2]
    assert first == E + "gate"
    assert found[first] > 5 * found[second]
    assert told == [i / len(LAYERS) for i in range(len(LAYERS))]
    assert measure_of(bundle) == OF_ACTIONS


@pytest.mark.parametrize("layer", [V + "a", B + "k", B + "down", E + "out"])
def test_it_is_what_quantizing_that_layer_alone_does(tmp_path: Path, layer: str) -> None:
    """The graph with one quantized layer, run by the same engine."""
    bundle = quantizable.regression(tmp_path)
    made = recipe(bundle)
    reference = [answer(runner(bundle, Engine()), probe)[0] for probe in probes(bundle)]
    rewrite(bundle, "model", Recipe({layer: "int8"}, inputs=made.inputs))
    policy = runner(bundle, Engine())
    change = [
        np.mean(np.abs(answer(policy, probe)[0] - wanted) / span(bundle.spec))
        for probe, wanted in zip(probes(bundle), reference, strict=True)
    ]
    fresh = quantizable.regression(tmp_path / "fresh")
    assert table(fresh, made=made)[layer] == pytest.approx(float(np.mean(change)), rel=1e-4)


def test_tokens_are_measured_in_logits_of_the_first(tmp_path: Path) -> None:
    bundle = quantizable.tokens(tmp_path, spoil=hidden_outlier(B + "k", B + "norm"))
    assert measure_of(bundle) == OF_LOGITS
    made = recipe(bundle)
    found = table(bundle, made=made)
    assert max(found, key=lambda name: found[name]) == B + "k"
    assert found[B + "k"] > 3 * found[B + "q"] > 0.0
    assert found[B + "late"] == 0.0, "the decode graph's alone: it is not run"
    logits = []
    for precision in ({}, {B + "k": "int8"}):
        rewrite(bundle, "prefill", Recipe(precision, inputs=made.inputs))
        policy = runner(bundle, Engine(), on_malformed="pad")
        with recorded(policy) as outputs:
            for probe in probes(bundle):
                answer(policy, probe)
        logits.append(outputs["prefill.logits"])
    change = [np.linalg.norm(a - b) / np.linalg.norm(b) for b, a in zip(*logits, strict=True)]
    assert found[B + "k"] == pytest.approx(float(np.mean(change)), rel=1e-4)


def test_only_layers_of_the_recipe_are_measured(tmp_path: Path) -> None:
    bundle = quantizable.regression(tmp_path)
    made = recipe(bundle)
    some = Recipe({B + "q": "int8"}, made.types, made.inputs)
    assert set(table(bundle, made=some)) == {B + "q"}
    assert table(bundle, made=Recipe({})) == {}


def test_a_change_that_is_not_finite_is_the_largest(tmp_path: Path) -> None:
    """Levels that reach to infinity make NaN of everything."""
    bundle = quantizable.regression(tmp_path)
    made = recipe(bundle)
    made = Recipe(made.precision, made.types, {**made.inputs, B + "down": float("inf")})
    with np.errstate(all="ignore"):
        found = table(bundle, made=made)
    assert max(found, key=lambda name: found[name]) == B + "down"
    assert all(np.isfinite(change) for change in found.values())
