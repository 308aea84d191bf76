"""The quantized bundle beside its original: what is the same passes, and whatever is not is said."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from calibration.observations import Sample, Samples
from edge_runtime.accuracy import QUANTIZED_GATE, Accuracy
from edge_runtime.backends import ort
from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import Quantization
from edge_runtime.policies.runners import runner
from edge_runtime.probes import Probe
from edge_runtime.verify import answer
from export import pieces, torch_graph
from export.errors import ExportError
from export.judge import as_probes, engine_for, judge
from tests.edge_runtime import tiny_bundle
from tests.edge_runtime.policies import token_bundle
from tests.edge_runtime.policies.arithmetic import Arithmetic, Parts, token_graphs
from tests.export import quantizable
from tests.export.quantizable import HEAD, B, Spoil, V, Weights, keep


def probes(bundle: Bundle, count: int = 3) -> list[Probe]:
    return [tiny_bundle.probe(bundle.spec, seed) for seed in range(count)]


def judged(folder: Path, spoil: Spoil, original: Spoil = keep) -> Accuracy:
    """A regression policy whose weights are spoiled, beside one whose weights are not."""
    bundles = quantizable.regression(folder / "made", spoil), quantizable.regression(folder / "original", original)
    found, _ = judge(*bundles, ort.Engine(), ort.Engine(), probes(bundles[0]), lambda part: None)
    return found


def scaled(name: str, by: float) -> Spoil:
    def spoil(weights: Weights) -> None:
        weights[name] *= np.float32(by)

    return spoil


@pytest.mark.parametrize("make", [quantizable.regression, quantizable.tokens])
def test_the_same_bundle_has_no_error(tmp_path: Path, make: type) -> None:
    bundle = make(tmp_path)
    told: list[float] = []
    found, answered = judge(bundle, bundle, ort.Engine(), ort.Engine(), probes(bundle), told.append)
    assert (found.verdict, found.actions.verdict, found.actions.fault) == ("pass", "pass", "")
    assert found.actions.max == found.actions.mean_share == 0.0
    assert found.actions.gate == QUANTIZED_GATE
    assert found.actions.tokens_same == (1.0 if make is quantizable.tokens else None)
    assert all((row.max_error, row.verdict, row.gate) == (0.0, "pass", None) for row in found.components.values())
    assert {name.partition(".")[0] for name in found.components} == set(bundle.manifest.graphs)
    assert found.observations == "3 held-out observations"
    assert found.reference == f"the float32 bundle {bundle.manifest.seal[:16]} in ONNX Runtime"
    assert told == [0.0, 1 / 3, 2 / 3]
    policy = runner(bundle, ort.Engine(), on_malformed="pad")
    for probe, before in zip(answered, probes(bundle), strict=True):
        actions, written = answer(policy, before)
        np.testing.assert_array_equal(probe.actions, actions)
        assert probe.written == written
        np.testing.assert_array_equal(probe.observation.state, before.observation.state)


def test_a_little_error_passes_and_is_told(tmp_path: Path) -> None:
    found = judged(tmp_path, scaled(HEAD, 1.01))
    assert found.verdict == "pass"
    row = found.components["model.actions"]
    assert row.cosine == pytest.approx(1.0)
    assert row.relative_error == pytest.approx(0.01, rel=1e-3)
    assert 0.0 < found.actions.mean_share < QUANTIZED_GATE.mean_share  # type: ignore[operator]


def test_a_spoiled_bundle_fails(tmp_path: Path) -> None:
    found = judged(tmp_path, scaled(HEAD, 2.0))
    assert (found.verdict, found.actions.verdict, found.actions.fault) == ("fail", "fail", "")
    assert found.actions.mean_share > QUANTIZED_GATE.mean_share  # type: ignore[operator]
    assert found.components["model.actions"].relative_error == pytest.approx(1.0, rel=1e-3)
    assert found.components["image.pixels"].max_error == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_fails(tmp_path: Path, value: float) -> None:
    def spoil(weights: Weights) -> None:
        weights[HEAD][0, 0] = value

    found = judged(tmp_path, spoil)
    assert (found.verdict, found.actions.max_share) == ("fail", math.inf)
    assert found.actions.fault == "model.actions is not finite"
    assert found.components["model.actions"].verdict == "fail"
    assert b"null" in msgspec.json.encode(found)


def test_an_original_that_is_not_finite_fails_too(tmp_path: Path) -> None:
    def spoil(weights: Weights) -> None:
        weights[HEAD][0, 0] = np.nan

    assert judged(tmp_path, keep, spoil).verdict == "fail"


def test_what_does_not_look_fails_although_no_action_is_off(tmp_path: Path) -> None:
    found = judged(tmp_path, scaled(V + "a", 0.0), scaled(V + "a", 0.0))
    assert (found.verdict, found.actions.max_share) == ("fail", 0.0)
    assert found.actions.fault == "the same observation gave another answer, or another one the same"


def test_tokens_that_are_not_finite_fail(tmp_path: Path) -> None:
    def spoil(weights: Weights) -> None:
        if B + "late" in weights:
            weights[B + "late"][:] = np.nan

    bundles = quantizable.tokens(tmp_path / "made", spoil=spoil), quantizable.tokens(tmp_path / "original")
    found, _ = judge(*bundles, ort.Engine(), ort.Engine(), probes(bundles[0]), lambda part: None)
    assert (found.verdict, found.actions.max) == ("fail", math.inf)
    assert found.actions.tokens_same == pytest.approx(1 / 6)


def seeing(graphs: dict[str, Arithmetic]) -> Parts:
    """Arithmetic whose first logits change a little with what is seen."""

    def brightness(given: dict, out: dict) -> None:
        out["pixels"][:] = given["image.base"].mean()

    graphs["image"]._compute = brightness
    begin = graphs["prefill"]._compute

    def begins(given: dict, out: dict) -> None:
        begin(given, out)
        out["logits"] += given["pixels"] / 1024.0

    graphs["prefill"]._compute = begins
    return Parts(graphs)


def test_decoders_are_compared_as_long_as_they_were_given_the_same(tmp_path: Path) -> None:
    """They part at the third token. The second run of decode told it: of its logits, two of five differ by 2."""
    bundle = token_bundle.bins(tmp_path)
    told = [100, 104, 102, 101, 103, 100], [100, 104, 101, 104, 100, 103]
    engines = (seeing(token_graphs(range(100, 105), says)) for says in told)
    found, answered = judge(bundle, bundle, *engines, probes(bundle, 1), lambda part: None)
    assert answered[0].written == tuple(told[1])
    assert found.actions.tokens_same == pytest.approx(2 / 6)
    assert found.verdict == "fail"
    row = found.components["decode.logits"]
    assert (row.max_error, row.mean_error) == (2.0, pytest.approx(4 / 10))
    assert found.components["prefill.logits"].max_error == 0.0


def test_decoders_that_part_at_once_have_nothing_to_be_compared(tmp_path: Path) -> None:
    bundle = token_bundle.bins(tmp_path)
    told = [100, 104, 102, 101, 103, 100], [101, 104, 102, 101, 103, 100]
    engines = (seeing(token_graphs(range(100, 105), says)) for says in told)
    found, _ = judge(bundle, bundle, *engines, probes(bundle, 1), lambda part: None)
    assert (found.verdict, found.actions.fault) == ("fail", "")
    assert found.actions.tokens_same == pytest.approx(5 / 6)
    assert {name for name in found.components if name.startswith("decode.")} == set()
    assert found.components["prefill.logits"].max_error == 2.0


def test_a_decoder_that_never_ran_is_no_component(tmp_path: Path) -> None:
    bundle = quantizable.tokens(tmp_path, stops=True)
    found, _ = judge(bundle, bundle, ort.Engine(), ort.Engine(), probes(bundle), lambda part: None)
    assert found.verdict == "pass"
    assert {name.partition(".")[0] for name in found.components} == {"image", "prefill"}


# ── samples become probes ───────────────────────────────────────────────────────────────────────────────────────────


def samples(bundle: Bundle, *instructions: str) -> Samples:
    """One sample of each instruction, for calibration and held out."""
    some = [
        Sample(f"file {i}, step 2", words, dict(p.observation.frames), p.observation.state)
        for i, (words, p) in enumerate(zip(instructions, probes(bundle, len(instructions)), strict=True))
    ]
    return Samples(tuple(some), tuple(some), "0" * 64, (), 2, ())


def test_samples_become_probes(tmp_path: Path) -> None:
    bundle = quantizable.regression(tmp_path)
    given = samples(bundle, "up", "pick up")
    calibration, held_out = as_probes(bundle, given, 0)
    policy = runner(bundle, ort.Engine())
    for probe, sample in zip(calibration, given.calibration, strict=True):
        seen = probe.observation
        assert seen.prompt.instruction == sample.instruction
        np.testing.assert_array_equal(seen.prompt.tokens, policy.prompt(sample.instruction).tokens)
        assert seen.frames is sample.frames
        assert probe.noise.shape == (bundle.spec.horizon, bundle.spec.action.padded)
    noises = [probe.noise.tobytes() for probe in (*calibration, *held_out)]
    assert len(set(noises)) == 4, "each has noise of its own"
    again, other = (as_probes(bundle, given, seed)[1] for seed in (0, 1))
    assert [probe.noise.tobytes() for probe in again] == noises[2:]
    assert [probe.noise.tobytes() for probe in other] != noises[2:]


@pytest.mark.parametrize(
    ("words", "message"), [("pick up the cup", "this policy takes 8: shorten it"), ("", "the instruction is empty")]
)
def test_an_instruction_that_the_policy_does_not_take(tmp_path: Path, words: str, message: str) -> None:
    bundle = quantizable.regression(tmp_path)
    with pytest.raises(ExportError, match=f"^file 1, step 2: .*{message}"):
        as_probes(bundle, samples(bundle, "up", words), 0)


def test_a_bundle_without_a_tokenizer_takes_no_words(tmp_path: Path) -> None:
    bundle = quantizable.regression(tmp_path)
    wordless = Bundle(bundle.path, msgspec.structs.replace(bundle.manifest, tokenizer=""))
    with pytest.raises(ExportError, match="has no tokenizer, and a dataset's instructions are words: export it with"):
        as_probes(wordless, samples(bundle, "up"), 0)


def test_half_precision_is_judged_by_pytorch(tmp_path: Path) -> None:
    manifest = quantizable.regression(tmp_path).manifest
    assert isinstance(engine_for(manifest, 1), pieces.Engine)
    for floats, engine in (("fp32", pieces.Engine), ("fp16", torch_graph.Engine), ("bf16", torch_graph.Engine)):
        made = Quantization(
            target="x", origin="", parts={}, floats={"a": "fp32", "b": floats}, ranges="max", block=1, kept=0, table=""
        )
        assert isinstance(engine_for(msgspec.structs.replace(manifest, quantization=made), 2), engine)


def test_an_answer_that_differs_the_second_time_fails(tmp_path: Path) -> None:
    bundle = token_bundle.bins(tmp_path)
    says = [100, 104, 102, 101, 103, 100]
    graphs = token_graphs(range(100, 105), says)
    seeing(graphs)
    begin, runs = graphs["prefill"]._compute, [0]

    def drifting(given: dict, out: dict) -> None:
        begin(given, out)
        runs[0] += 1
        if runs[0] > 1:
            out["logits"][0, 4] = 3.0

    graphs["prefill"]._compute = drifting
    engines = Parts(graphs), seeing(token_graphs(range(100, 105), says))
    found, _ = judge(bundle, bundle, *engines, probes(bundle, 1), lambda part: None)
    assert (found.verdict, found.actions.max_share) == ("fail", 0.0)
    assert found.actions.fault.startswith("the same observation gave another answer")
