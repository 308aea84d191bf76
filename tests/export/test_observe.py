"""What a float32 bundle computes on observations: ranges of inputs, and what float16 would have to hold."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx_ir as ir
import pytest

from edge_runtime.backends import ort
from edge_runtime.bundle import Bundle, open_bundle, seal
from edge_runtime.policies.graph_policy import recorded
from edge_runtime.policies.runners import runner
from edge_runtime.probes import Probe
from edge_runtime.verify import answer
from export.errors import ExportError
from export.half import FP16_LIMIT, TYPES, lower
from export.observe import Observed, _in_half, bundle_layers, graph_files, largest_in_half, observe
from tests.edge_runtime import tiny_bundle
from tests.export import quantizable
from tests.export.by_hand import model, node, normal
from tests.export.quantizable import HEAD, LAYERS, TABLE, B, E, V

LATE = B + "late"
HALF = ("vision", "table", "backbone", "expert")


def probes(bundle: Bundle, count: int = 3) -> list[Probe]:
    return [tiny_bundle.probe(bundle.spec, seed) for seed in range(count)]


def seen(bundle: Bundle, some: list[Probe]) -> Observed:
    return observe(bundle, bundle_layers(bundle), some, 1, lambda part: None)


def test_every_layer_of_every_graph_is_found(tmp_path: Path) -> None:
    bundle = quantizable.tokens(tmp_path)
    found = {name: [layer.name for layer in layers] for name, layers in bundle_layers(bundle).items()}
    shared = [B + "q", B + "k", B + "down"]
    assert found == {"prefill": [V + "a", *shared], "decode": [*shared, LATE]}
    assert {name: path.name for name, path in graph_files(bundle).items()} == {
        "prefill": "prefill.onnx",
        "decode": "decode.onnx",
    }


def test_inputs_are_those_that_the_policy_computes(tmp_path: Path) -> None:
    bundle = quantizable.regression(tmp_path)
    some = probes(bundle)
    told: list[float] = []
    observed = observe(bundle, bundle_layers(bundle), some, 1, told.append)
    assert set(observed.inputs) == set(LAYERS)
    assert told == [0.0, 1 / 3, 2 / 3]
    policy, pixels = runner(bundle, ort.Engine()), []
    for probe in some:
        with recorded(policy) as outputs:
            answer(policy, probe)
        pixels.append(outputs["image.pixels"][0].reshape(-1, 16))
    found, wanted = observed.inputs[V + "a"], np.abs(np.concatenate(pixels))
    np.testing.assert_allclose(found.largest, wanted.max(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.mean_square, (wanted**2).mean(axis=0), rtol=1e-5)
    assert found.rows == len(wanted) == 12
    np.testing.assert_array_equal(observed.inputs[B + "q"].largest, observed.inputs[B + "k"].largest)
    assert observed.largest["model"]["again"] == pytest.approx(observed.inputs[E + "out"].maximum())


def test_layers_of_two_graphs_have_one_range_over_both(tmp_path: Path) -> None:
    """Six tokens: one run of prefill over eight rows, five of decode over one."""
    bundle = quantizable.tokens(tmp_path)
    observed = seen(bundle, probes(bundle, 2))
    assert observed.inputs[V + "a"].rows == 2 * 4
    assert observed.inputs[B + "q"].rows == 2 * (8 + 5)
    assert observed.inputs[LATE].rows == 2 * 5
    assert set(observed.largest) == {"prefill", "decode"}


def test_a_decoder_that_was_never_reached_has_no_ranges(tmp_path: Path) -> None:
    bundle = quantizable.tokens(tmp_path, stops=True)
    observed = seen(bundle, probes(bundle, 2))
    assert LATE not in observed.inputs
    assert observed.inputs[B + "q"].rows == 2 * 8
    assert observed.largest["decode"] == {}
    assert "decode" not in {where.partition(":")[0] for _, where in largest_in_half(bundle, observed, HALF).values()}


def test_an_input_that_is_not_finite_is_named(tmp_path: Path) -> None:
    def overflow(weights: quantizable.Weights) -> None:
        for name in (B + "norm", B + "q"):
            weights[name] *= np.float32(1e30)

    bundle = quantizable.regression(tmp_path, overflow)
    with pytest.raises(ExportError, match=r"^q: is not finite in float32"):
        seen(bundle, probes(bundle, 1))


def test_what_float16_would_have_to_hold(tmp_path: Path) -> None:
    bundle = quantizable.regression(tmp_path)
    largest = largest_in_half(bundle, seen(bundle, probes(bundle)), HALF)
    assert set(largest) == set(HALF)
    assert all(0.0 < magnitude < 100.0 for magnitude, _ in largest.values())

    def louder(weights: quantizable.Weights) -> None:
        weights[E + "norm"] *= np.float32(FP16_LIMIT)

    bundle = quantizable.regression(tmp_path / "louder", louder)
    largest = largest_in_half(bundle, seen(bundle, probes(bundle)), HALF)
    magnitude, where = largest["expert"]
    assert magnitude > FP16_LIMIT
    assert where.startswith("model: ")
    assert largest["vision"][0] < 100.0


def test_what_stays_in_float32_is_not_counted(tmp_path: Path) -> None:
    """The head's sums are those of a projection; the expert's own mean is made in float32."""

    def louder(weights: quantizable.Weights) -> None:
        weights["model.state_proj.weight"] *= np.float32(FP16_LIMIT * 100)

    bundle = quantizable.regression(tmp_path, louder)
    largest = largest_in_half(bundle, seen(bundle, probes(bundle)), HALF)
    assert "projections" not in largest
    assert largest["expert"][0] < 100.0


def half_by(graph: ir.Graph, *parts: str) -> dict[str, frozenset[str]]:
    lower(graph, dict.fromkeys(parts, TYPES["fp16"]))
    return _in_half(graph)


def test_a_residual_stream_counts_for_all_that_it_comes_of() -> None:
    """float16 where the part that it begins in and the one that adds to it both are, and in neither alone."""
    nodes = [
        node("MatMul", ["x", V + "into"], ["seen"]),
        node("MatMul", ["seen", B + "q"], ["y"]),
        node("Add", ["seen", "y"], ["stream"]),
        node("MatMul", ["stream", HEAD], ["logits"]),
    ]
    weights = {V + "into": normal(16, 16), B + "q": normal(16, 16), HEAD: normal(16, 4)}

    def half(*parts: str) -> dict[str, frozenset[str]]:
        return half_by(model(nodes, {"x": (1, 16)}, ("logits",), weights).graph, *parts)

    assert half("vision", "backbone")["stream"] == {"vision", "backbone"}
    assert half("vision", "backbone")["seen"] == {"vision"}
    assert half("vision", "backbone")["y"] == {"backbone"}
    assert "stream" not in {**half("vision"), **half("backbone")}


def test_what_is_looked_up_counts_for_its_table() -> None:
    """A decode graph's residual stream begins there, in float32."""
    nodes = [
        node("Gather", [TABLE, "ids"], ["word"]),
        node("MatMul", ["word", B + "q"], ["y"]),
        node("Add", ["word", "y"], ["stream"]),
        node("MatMul", ["stream", HEAD], ["logits"]),
    ]
    weights = {TABLE: normal(9, 16), B + "q": normal(16, 16), HEAD: normal(16, 4)}
    found = half_by(model(nodes, {"ids": (1, 1)}, ("logits",), weights).graph, "table", "backbone")
    assert found == {"word": {"table"}, "y": {"backbone"}}


def test_what_is_moved_to_a_product_counts_for_that_one() -> None:
    nodes = [
        node("Concat", ["past", "x"], ["keys"], axis=0),
        node("Transpose", ["keys"], ["kt"], perm=[1, 0]),
        node("MatMul", ["x", E + "q"], ["q"]),
        node("MatMul", ["q", "kt"], ["y"]),
    ]
    found = half_by(model(nodes, {"x": (1, 16), "past": (3, 16)}, ("y",), {E + "q": normal(16, 16)}).graph, "expert")
    assert set(found) == {"past", "x", "keys", "kt", "q", "y"}
    assert found["past"] == found["x"] == {"expert"}


def test_a_graph_may_have_any_file_name(tmp_path: Path) -> None:
    bundle = quantizable.regression(tmp_path)
    wanted = seen(bundle, probes(bundle)).inputs[E + "up"].maximum()
    bundle.graph("model").rename(bundle.path / "policy.v2.onnx")
    seal(
        bundle.path, msgspec.structs.replace(bundle.manifest, graphs={"image": "image.onnx", "model": "policy.v2.onnx"})
    )
    renamed = open_bundle(bundle.path)
    observed = seen(renamed, probes(renamed))
    assert observed.inputs[E + "up"].maximum() == wanted
    assert set(observed.largest) == {"model"}
