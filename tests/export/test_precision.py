"""Presets by target, what a person may ask for instead, and what recorded ranges allow."""

from __future__ import annotations

import pytest

from edge_runtime.errors import EdgeError
from edge_runtime.targets import FLOATS, TARGETS, target
from export.errors import ExportError
from export.half import FP16_LIMIT
from export.layers import QUANTIZABLE, layers
from export.precision import HALF, PRESETS, asked_parts, layer_precision, planned_parts, settle
from tests.export.by_hand import model, node, normal

PARTS = ("vision", "table", "backbone", "expert")
ORIN, THOR, CPU = target("jetpack6-orin"), target("jetpack7-thor"), target("cpu")


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_has_a_preset_that_it_can_compute(name: str) -> None:
    preset = PRESETS[name]
    assert tuple(preset) == PARTS
    for part, precision in preset.items():
        assert precision in (*TARGETS[name].precisions, HALF)
        assert precision in (*FLOATS, HALF) or part in QUANTIZABLE
    made = settle(TARGETS[name], preset, {})
    assert set(made.precision.values()) | set(made.floats.values()) <= set(TARGETS[name].precisions)
    assert (made.precision["projections"], made.floats["projections"]) == ("fp32", "fp32")


@pytest.mark.parametrize(
    ("name", "precision", "floats"),
    [
        ("jetpack6-orin", ("fp16", "fp16", "int8", "int8"), "fp16"),
        ("jetpack7-orin", ("fp16", "fp16", "int8", "int8"), "fp16"),
        ("jetpack7-thor", ("fp16", "fp16", "fp8", "fp8"), "fp16"),
        ("x86-rtx", ("fp16", "fp16", "fp8", "fp8"), "fp16"),
        ("cpu", ("int8", "fp32", "int8", "int8"), "fp32"),
    ],
)
def test_presets(name: str, precision: tuple[str, ...], floats: str) -> None:
    made = settle(target(name), PRESETS[name], {})
    assert tuple(made.precision[part] for part in PARTS) == precision
    assert {made.floats[part] for part in PARTS} == {floats}


def test_what_is_asked_for_stands_in_the_place_of_the_preset() -> None:
    asked = asked_parts(ORIN, ["expert=int4", "vision=bf16"])
    assert asked == {"expert": "int4", "vision": "bf16"}
    planned = planned_parts(ORIN, asked, PARTS)
    assert planned == {"vision": "bf16", "table": HALF, "backbone": "int8", "expert": "int4"}


def test_only_what_the_model_has_is_planned() -> None:
    assert planned_parts(CPU, {}, ["projections", "expert"]) == {"expert": "int8"}


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("cpu", "expert", "expected PART=PRECISION, each part once"),
        ("cpu", "", "expected PART=PRECISION"),
        ("cpu", "exprt=int8", 'there is no part "exprt", did you mean "expert"?'),
        ("cpu", "projections=int8", 'there is no part "projections"'),
        ("cpu", "expert=int9", 'has no int9, did you mean "int'),
        ("cpu", "expert=", "it has fp32, int8, int4"),
        ("cpu", "expert=half", "has no half; it has fp32, int8, int4"),
        ("cpu", "expert=bf16", "any CPU, ONNX Runtime (cpu) has no bf16; it has fp32, int8, int4"),
        ("cpu", "expert=fp16", "has no fp16; it has"),
        ("jetpack6-orin", "backbone=fp8", "Jetson Orin, JetPack 6 (jetpack6-orin) has no fp8; it has"),
        ("jetpack7-orin", "backbone=fp4", "JetPack 7 (jetpack7-orin) has no fp4; it has fp32, bf16, fp16, int8, int4"),
        ("jetpack7-thor", "expert=nvfp4", "(jetpack7-thor) has no nvfp4; it has fp32, bf16, fp16, int8, int4, fp8"),
        ("jetpack7-thor", "table=fp8", "table is only looked up in; it may be fp32, bf16, fp16"),
        ("jetpack7-thor", "table=int4", "table is only looked up in"),
    ],
)
def test_what_cannot_be_is_one_line(name: str, words: str, message: str) -> None:
    with pytest.raises(EdgeError) as caught:
        asked_parts(target(name), [words])
    said = str(caught.value)
    assert said.startswith(f"--precision {words}: ")
    assert message in said
    assert "known:" not in said or "there is no part" in said
    assert "\n" not in said


def test_a_part_twice() -> None:
    with pytest.raises(ExportError, match="--precision expert=int4: expected PART=PRECISION, each part once"):
        asked_parts(CPU, ["expert=int8", "expert=int4"])


def test_a_part_that_the_model_has_not() -> None:
    with pytest.raises(ExportError, match="--precision expert=int4: this model has no expert; it has vision, backbone"):
        planned_parts(CPU, {"expert": "int4"}, ["backbone", "vision", "projections"])


LARGE = (FP16_LIMIT * 1.01, "prefix: add_7")


def test_half_is_bfloat16_where_ranges_pass_what_float16_is_trusted_with() -> None:
    largest = {"vision": LARGE, "backbone": LARGE, "expert": (FP16_LIMIT, "step: add_1")}
    made = settle(ORIN, PRESETS["jetpack6-orin"], largest)
    assert made.precision == {
        "vision": "bf16",
        "table": "fp16",
        "backbone": "int8",
        "expert": "int8",
        "projections": "fp32",
    }
    assert made.floats == {
        "vision": "bf16",
        "table": "fp16",
        "backbone": "bf16",
        "expert": "fp16",
        "projections": "fp32",
    }


def test_float16_that_was_asked_for_is_refused_where_ranges_pass_it() -> None:
    with pytest.raises(ExportError) as caught:
        settle(ORIN, {"vision": "fp16"}, {"vision": LARGE})
    assert str(caught.value) == (
        "--precision vision=fp16: prefix: add_7 reached 3.03e+04, float16 is safe up to 30000; use vision=bf16"
    )
    assert settle(ORIN, {"vision": "fp16"}, {"vision": (FP16_LIMIT, "")}).precision["vision"] == "fp16"
    assert settle(ORIN, {"vision": "bf16"}, {"vision": LARGE}).floats["vision"] == "bf16"
    assert settle(ORIN, {"vision": "fp32"}, {"vision": LARGE}).floats["vision"] == "fp32"


def test_a_target_without_float16_keeps_float32() -> None:
    made = settle(CPU, {"vision": HALF, "expert": "int4"}, {"expert": LARGE})
    assert (made.precision["vision"], made.floats["expert"]) == ("fp32", "fp32")


WIDTHS = {"model.vision.a": 48, "model.language.a": 32, "model.expert.a": 64, "model.expert.b": 96}


def found() -> list:
    nodes = [node("MatMul", [f"x{i}", name], [f"y{i}"]) for i, name in enumerate(WIDTHS)]
    inputs = {f"x{i}": (2, width) for i, width in enumerate(WIDTHS.values())}
    weights = {name: normal(width, 8) for name, width in WIDTHS.items()}
    return layers(model(nodes, inputs, tuple(f"y{i}" for i in range(len(nodes))), weights).graph)


def test_layers_of_quantized_parts_but_for_those_that_are_kept() -> None:
    parts = {"vision": HALF, "backbone": "fp8", "expert": "int8"}
    every = {"model.language.a": "fp8", "model.expert.a": "int8", "model.expert.b": "int8"}
    assert layer_precision(parts, found(), (), 128) == every
    del every["model.expert.a"]
    assert layer_precision(parts, found(), ["model.expert.a"], 128) == every
    assert layer_precision(dict.fromkeys(parts, "bf16"), found(), (), 128) == {}


def test_a_block_that_does_not_divide_a_layer() -> None:
    parts = {"vision": "int8", "backbone": "int8", "expert": "int4"}
    assert set(layer_precision(parts, found(), (), 32)) == set(WIDTHS)
    with pytest.raises(ExportError) as caught:
        layer_precision(parts, found(), (), 64)
    assert str(caught.value) == (
        "--precision expert=int4: model.expert.b has 96 inputs, which blocks of 64 do not divide; "
        "give another --block, or another precision for that part"
    )
    assert "model.expert.b" not in layer_precision(parts, found(), ["model.expert.b"], 64)
