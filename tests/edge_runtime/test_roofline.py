"""The roofline floor: the figures that are known for pi0, the formula by hand, and names that there are not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edge_runtime.bundle_spec import (
    GRAPHS,
    GUIDE,
    BinScheme,
    Cost,
    FastScheme,
    FlowSpec,
    Head,
    IntegerScheme,
    Manifest,
    RegressionSpec,
    TokenSpec,
)
from edge_runtime.errors import EdgeError
from edge_runtime.roofline import DEVICES, Roofline, parts, roofline, runs
from tests.edge_runtime import tiny_bundle

VISION, LANGUAGE, EXPERT = 411e6, 1982e6, 293e6
VIEWS, PROMPT, CHUNK, STEPS = 2, 48, 50, 10
"""The pi0 of shared/facts/platform.md, with the 48 tokens of prompt of openpi's pi0."""

FLOW = FlowSpec(STEPS, 1.0, 0.0, ("keys", "values"))
FAST = TokenSpec(256, FastScheme("fast.json", (), 1, 9, -9, 10.0, relaxed=True))
INTEGERS = TokenSpec(40, IntegerScheme(stop=1))
BINS = TokenSpec(7, BinScheme())


def manifest(head: Head = FLOW, **costs: Cost) -> Manifest:
    """A bundle of `head` with these costs, and no others."""
    all_costs = dict.fromkeys(GRAPHS[type(head)], Cost(0, "float32", 0, 0)) | costs
    spec = msgspec.structs.replace(tiny_bundle.SPEC, head=head)
    return msgspec.structs.replace(tiny_bundle.MANIFEST, spec=spec, costs=all_costs)


def cost(parameters: float, flops: float, precision: str = "bfloat16", size: int = 2) -> Cost:
    return Cost(int(parameters), precision, int(size * parameters), int(flops))


PI0 = manifest(
    prefix=cost(VISION + LANGUAGE, 2 * VISION * 256 * VIEWS + 2 * LANGUAGE * (256 * VIEWS + PROMPT)),
    step=cost(EXPERT, 2 * EXPERT * CHUNK),
)


def floor(on: str, found: Manifest = PI0, precision: tuple[str, ...] = (), steps: int = 0) -> Roofline:
    return roofline(parts(found, precision, steps), on)


@pytest.mark.parametrize(
    ("on", "eight_bits", "bf16", "w8a8", "w8a8_and_w4", "digits"),
    [
        ("agx-orin-64", "int8", 92, 46, 39, 0),
        ("orin-nx-16", "int8", 237, 119, 105, 0),
        ("thor", "int8", 39, 19.5, 14, 0),
        ("rtx-4090", "fp8", 22, 11, 10, 0),  # its int8 is twice as fast as its fp8
        ("h200", "fp8", 4.0, 2.0, 1.7, 1),
    ],
)
def test_pi0_as_the_facts_have_it(
    on: str, eight_bits: str, bf16: float, w8a8: float, w8a8_and_w4: float, digits: int
) -> None:
    """Within 3 % of what a figure that was rounded to so many digits may have been."""
    for precision, wanted in (((), bf16), ((eight_bits,), w8a8), ((eight_bits, "step=int4"), w8a8_and_w4)):
        assert floor(on, precision=precision).ms == pytest.approx(wanted, abs=0.03 * wanted + 0.5 * 10**-digits)


def test_what_pi0_reads_and_computes() -> None:
    found = {part.name: part for part in parts(PI0)}
    read = sum(part.runs * part.bytes for part in found.values())
    assert read / 1e9 == pytest.approx(10.6, abs=0.05)
    assert sum(part.runs * part.flops for part in found.values()) / 1e12 == pytest.approx(3.05, rel=0.05)
    orin = {f.part.name: f.limit for f in floor("agx-orin-64").floors}
    assert (orin["prefix"], orin["step"]) == ("arithmetic", "memory")


def test_weights_of_four_bits_help_where_memory_is_the_limit() -> None:
    bf16, int4 = ({f.part.name: f.ms for f in floor("agx-orin-64", precision=p).floors} for p in ((), ("int4",)))
    assert int4["prefix"] == bf16["prefix"]
    assert int4["step"] == pytest.approx(bf16["step"] / 4)


@pytest.mark.parametrize(
    ("one", "ms"),
    [
        (cost(102.4e9, 0), 1000.0),  # 204.8 GB
        (cost(0, 42.5e12), 1000.0),
        (cost(51.2e9, 42.5e12), 1000.0),  # the longer of the two, not their sum
        (cost(51.2e9, 4.25e12), 500.0),
        (cost(51.2e9, 5.3e12, "float32", 4), 1000.0),  # CUDA cores, not TF32
        (cost(204.8e9, 85e12, "int8", 1), 1000.0),
        (cost(0, 0), 0.0),
    ],
)
def test_the_formula_by_hand(one: Cost, ms: float) -> None:
    found = floor("agx-orin-64", manifest(RegressionSpec(), model=one))
    assert found.ms == pytest.approx(ms)
    assert found.rate_hz == pytest.approx(1e3 / ms if ms else 0.0)


def test_a_step_is_paid_as_often_as_it_runs() -> None:
    step = manifest(step=cost(1.024e9, 0))
    assert floor("agx-orin-64", step).ms == pytest.approx(100.0)
    assert floor("agx-orin-64", step, steps=3).ms == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("head", "often"),
    [
        (FLOW, {"image": 1, "prefix": 1, "step": 10}),
        (BINS, {"image": 1, "prefill": 1, "decode": 6}),
        (INTEGERS, {"image": 1, "prefill": 1, "decode": 39}),
        (FAST, {"image": 1, "prefill": 1, "decode": 255}),
        (TokenSpec(1, BinScheme()), {"image": 1, "prefill": 1, "decode": 0}),
        (RegressionSpec(), {"image": 1, "model": 1}),
    ],
)
def test_how_often_each_component_runs(head: Head, often: dict[str, int]) -> None:
    assert runs(head) == often


def test_a_guide_graph_is_told_and_does_not_run() -> None:
    told = msgspec.structs.replace(
        PI0, graphs={**PI0.graphs, GUIDE: "guide.onnx"}, costs={**PI0.costs, GUIDE: cost(1e9, 1e12)}
    )
    found = {part.name: part.runs for part in parts(told)}
    assert found == {"image": 1, "prefix": 1, "step": 10, GUIDE: 0}
    assert floor("agx-orin-64", told).ms == floor("agx-orin-64").ms


@pytest.mark.parametrize(("head", "tokens"), [(BINS, 0), (INTEGERS, 40), (FAST, 256), (FLOW, 0)])
def test_a_sequence_that_may_end_early_is_counted_whole(head: Head, tokens: int) -> None:
    assert floor("thor", manifest(head)).most_tokens == tokens


@pytest.mark.parametrize(
    ("precision", "read"),
    [
        ((), (48, 4_000, 400)),
        (("bf16",), (48, 2_000, 200)),
        (("int8",), (48, 1_000, 100)),
        (("fp8", "step=int4"), (48, 1_000, 50)),
        (("step=int4",), (48, 4_000, 50)),
        (("step=int4", "fp16"), (48, 2_000, 200)),  # the later counts
        (("fp32",), (48, 4_000, 400)),
    ],
)
def test_what_if(precision: tuple[str, ...], read: tuple[int, ...]) -> None:
    """The image graph is no part of the model and stays as it is."""
    found = manifest(
        image=Cost(12, "float32", 48, 0), prefix=cost(1000, 0, "float32", 4), step=cost(100, 0, "float32", 4)
    )
    assert tuple(part.bytes for part in parts(found, precision)) == read


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: floor("agx-orin"), '--device: there is no "agx-orin", did you mean "agx-orin-'),
        (lambda: floor("cpu"), '--device: there is no "cpu"; known: agx-orin-32, agx-orin-64, '),
        (lambda: floor("thor", precision=("int9",)), '--precision int9: there is no "int9", did you mean "int8"?'),
        (lambda: floor("thor", precision=("stp=int8",)), 'there is no "stp", did you mean "step"?'),
        (lambda: floor("thor", precision=("image=int8",)), 'there is no "image"; known: prefix, step'),
        (lambda: floor("thor", precision=("=int8",)), 'there is no ""; known: prefix, step'),
        (lambda: floor("thor", precision=("",)), 'there is no ""; known: '),
        (
            lambda: floor("orin-nx-16", precision=("step=fp8",)),
            "step: Jetson Orin NX 16 GB has no fp8 arithmetic; it has fp32, bf16, fp16, int8, int4",
        ),
        (lambda: floor("thor", manifest(step=cost(1, 1, "ternary"))), "step: Jetson Thor T5000 has no ternary "),
        (
            lambda: parts(manifest(step=cost(1, 1, "ternary")), ["bf16"]),
            'costs.step.precision: there is no "ternary"; known: bf16',
        ),
        (lambda: parts(PI0, steps=11), "--steps 11: this bundle takes 1 to 10 flow steps"),
        (lambda: parts(manifest(BINS), steps=2), "--steps: this policy has no flow"),
    ],
)
def test_what_there_is_not(call: Any, words: str) -> None:
    with pytest.raises(EdgeError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("float32", "fp32"),
        ("bfloat16", "bf16"),
        ("float16", "fp16"),
        ("float8_e4m3fn", "fp8"),
        ("int8", "int8"),
        ("uint8", "int8"),
        ("int4", "int4"),
    ],
)
def test_what_the_graphs_store_is_a_precision_of_devices(stored: str, name: str) -> None:
    quantized = manifest(step=cost(1000, 1, stored, 1))
    assert parts(quantized)[2].precision == name
    assert floor("thor", quantized).ms > 0
    assert parts(quantized, ["step=int4"])[2].bytes == 1000 * 4 // {"fp32": 32, "bf16": 16, "fp16": 16, "int4": 4}.get(
        name, 8
    )


def test_an_unknown_precision_is_told_where_nothing_is_computed_from_it() -> None:
    assert parts(manifest(step=cost(1, 1, "ternary")))[2].precision == "ternary"


@pytest.mark.parametrize("name", DEVICES)
def test_fewer_bits_are_never_slower(name: str) -> None:
    peak = DEVICES[name].peak
    assert peak["fp32"] < peak["bf16"] == peak["fp16"] == peak["int4"] < peak["int8"]
    assert 5e10 < DEVICES[name].bandwidth < 1e13
    assert peak.get("fp8", peak["int8"]) > peak["fp16"]
