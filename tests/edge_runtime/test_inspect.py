"""What a person and a program are told of a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_runtime import cli
from edge_runtime.accuracy import QUANTIZED_GATE, Accuracy, ClosedLoop, HeadCheck
from edge_runtime.bundle import seal
from edge_runtime.bundle_spec import (
    GUIDE,
    BinScheme,
    CameraSpec,
    Cost,
    FastScheme,
    Head,
    IntegerScheme,
    Manifest,
    Normalisation,
    PoseSpec,
    PoseVector,
    PromptSpec,
    Quantization,
    RegressionSpec,
    TokenSpec,
    VectorSpec,
)
from edge_runtime.errors import BundleError
from edge_runtime.inspect import WIDTH, inspect
from edge_runtime.layer_table import LayerRow, LayerTable
from edge_runtime.roofline import DEVICES
from tests.edge_runtime import tiny_bundle

FAST = TokenSpec(256, FastScheme("tokenizer.json", (), 1, 9, -9, 10.0, relaxed=True), on_malformed="pad")
GRAPHS = {TokenSpec: ("image", "prefill", "decode"), RegressionSpec: ("image", "model")}


def described(folder: Path, head: Head, **spec: Any) -> str:
    """The text about a bundle of that head, on one line."""
    names = GRAPHS[type(head)]
    manifest = msgspec.structs.replace(
        tiny_bundle.MANIFEST,
        graphs={name: f"{name}.onnx" for name in names},
        costs=dict.fromkeys(names, Cost(7, "float32", 28, 99)),
    )
    return one_line(tiny_bundle.write(folder / "b", manifest, head=head, **spec))


def one_line(folder: Path, *asked: Any) -> str:
    return " ".join(inspect(folder, *asked)[0].split())


def row(words: str, name: str) -> list[str]:
    """What stands behind `name` in the table of components."""
    return next(line.split()[1:] for line in words.splitlines() if line.startswith(f"  {name} "))


def test_the_words_and_the_facts(tmp_path: Path) -> None:
    words, facts = inspect(tiny_bundle.write(tmp_path / "b"))
    for expected in (
        "pi0 policy bundle, format 3, from the lerobot layout",
        "(height x width) base 4x6, masked when missing; wrist 3x3, masked when missing",
        "2 of 4: a, b (rad); normalised by mean_std",
        "2 of 5: a, b (rad); normalised by mean_std; absolute\n",
        "3 actions at 20 Hz, as the checkpoint says",
        "flow matching, 4 steps, t 1 → 0, from normal noise",
        r"at most 8 tokens, '{instruction}\n'",
        "--device orin-nano-8, ",
        "against PyTorch, 2 seeded observations: pass\n",
        "keys                   1.0000000    4.0e-07    2.0e-06   3.0e-04\n",
        "actions of 2 observations: mean 1e-07, 99 % 1e-06, largest 2e-06 rad\n",
        "of each range: mean 2.0e-06%, 99 % 2.0e-05%, largest 4.0e-04% (at most 0.01%) (b)\n",
        "prefix.onnx.data",
    ):
        assert expected in words
    assert row(words, "component") == ["parameters", "precision", "MB/run", "GFLOP/run", "runs"]
    assert row(words, "prefix") == ["1,234,567", "fp32", "4.94", "0.988", "1"]
    assert row(words, "step") == ["89", "fp32", "0.0004", "0.0000", "4"]
    assert json.loads(json.dumps(facts))["manifest"]["spec"]["horizon"] == 3
    assert facts["accuracy"]["verdict"] == "pass"
    assert facts["layers"] is None
    assert facts["runs"] == {"image": 1, "prefix": 1, "step": 4}
    assert facts["roofline"] is None


def test_what_a_chunk_may_go_on_from(tmp_path: Path) -> None:
    plain, told = tiny_bundle.MANIFEST, []
    guided = msgspec.structs.replace(
        plain,
        graphs={**plain.graphs, GUIDE: "guide.onnx"},
        costs={**plain.costs, GUIDE: Cost(178, "float32", 712, 9999)},
    )
    trained = {"head": msgspec.structs.replace(plain.spec.head, committed=2)}  # type: ignore[arg-type]
    for i, (manifest, spec) in enumerate(((plain, {}), (plain, trained), (guided, {}), (guided, trained))):
        told.append(one_line(tiny_bundle.write(tmp_path / str(i), manifest, **spec)))
    rows = "up to 2 committed actions, as it was trained to"
    guide = "from any running chunk, by guidance: then guide runs in the place of step"
    assert "goes on" not in told[0]
    assert f"goes on from {rows} instruction" in told[1]
    assert f"goes on {guide} instruction" in told[2]
    assert f"goes on from {rows}; {guide} instruction" in told[3]
    assert "guide 178 fp32 0.0007 0.0000 0" in told[3]


def test_a_rate_and_a_unit_that_nobody_recorded(tmp_path: Path) -> None:
    source = msgspec.structs.replace(tiny_bundle.MANIFEST.source, rate="assumed")
    manifest = msgspec.structs.replace(tiny_bundle.MANIFEST, source=source)
    state = msgspec.structs.replace(tiny_bundle.SPEC.state, units=("", ""))
    words, _ = inspect(tiny_bundle.write(tmp_path / "b", manifest, state=state))
    assert "20 Hz, assumed: the checkpoint does not say" in words
    assert "a, b (unit not recorded)" in words


def test_a_damaged_bundle_is_not_described(tmp_path: Path) -> None:
    folder = tiny_bundle.write(tmp_path / "b")
    (folder / "step.onnx").write_bytes(b"something else!!")
    with pytest.raises(BundleError, match=r"step\.onnx"):
        inspect(folder)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (TokenSpec(6, BinScheme()), "tokens of bins, one a number, 6 in all; a malformed sequence is a fault"),
        (
            TokenSpec(9, BinScheme(terminate=True)),
            "9 in all, each action led by whether the task is done; a malformed sequence",
        ),
        (TokenSpec(40, IntegerScheme(stop=1)), "tokens that spell integers, at most 40; a malformed sequence is a"),
        (FAST, "tokens of FAST, at most 256; a malformed sequence is padded as the reference does"),
        (RegressionSpec(), "regression, the whole chunk at once"),
    ],
)
def test_what_makes_the_actions(tmp_path: Path, head: Head, words: str) -> None:
    assert words in described(tmp_path, head)


def test_what_a_policy_in_end_effector_space_means(tmp_path: Path) -> None:
    seven = VectorSpec(tuple("xyzabcg"), ("",) * 7, 7)
    pose = PoseSpec(
        "base",
        PoseVector("axis_angle", (1.0,), (-1.0,), 0.05, 0.5),
        PoseVector("euler_xyz", (0.0,), (1.0,)),
        level=(0, 0, 1, 0, 1, 0, -1, 0, 0),
    )
    none = Normalisation("none")
    vectors = {"action": seven, "state": seven, "action_normalisation": none, "state_normalisation": none}
    assert (
        "convention end effector, deltas in the axes of the base: 1 is 0.05 m, 0.5 rad as axis times angle; gripper "
        "closed 1, open -1; state: 1 is 1 m, 1 rad as Euler angles about fixed x, y, z; gripper closed 0, open 1; no "
        "rotation is [0, 0, 1, 0, 1, 0, -1, 0, 0] chunk"
    ) in described(tmp_path, RegressionSpec(), pose=pose, control_mode="delta", **vectors)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"cameras": (CameraSpec("a", 4, 6, "black"),)}, "a 4x6, shown black when missing"),
        ({"cameras": (CameraSpec("a", 4, 6, "refuse"),)}, "a 4x6, refused when missing"),
        (
            {"state": VectorSpec((), (), 0), "state_normalisation": Normalisation("none")},
            "state none action",
        ),
        ({"state_normalisation": Normalisation("none")}, "not normalised"),
        (
            {"action_normalisation": Normalisation("quantiles", (0.0, 0.0), (1.0, 1.0), mask=(True, False), clip=5.0)},
            "normalised by quantiles but for b, within ±5; absolute",
        ),
        ({"control_mode": "delta"}, "; delta chunk"),
        ({"relative": (True, True)}, "absolute; the model writes all relative to the state"),
        ({"relative": (True, False)}, "absolute; the model writes all but b relative to the state"),
        ({"horizon": 1}, "1 action at 20 Hz"),
        (
            {"prompt": PromptSpec("In: {instruction} {state}?", 99, 2, 0, clean=("strip", "lower"))},
            "at most 99 tokens, 'In: {instruction} {state}?', after strip, lower",
        ),
    ],
)
def test_what_the_policy_is_given_and_gives(tmp_path: Path, spec: dict[str, Any], words: str) -> None:
    assert words in one_line(tiny_bundle.write(tmp_path / "b", **spec))


def test_a_few_relative_actions_are_named(tmp_path: Path) -> None:
    names = VectorSpec(tuple("abcde"), ("rad",) * 5, 5)
    none = Normalisation("none")
    relative = (False, True, False, False, True)
    folder = tiny_bundle.write(
        tmp_path / "b",
        state=names,
        action=names,
        state_normalisation=none,
        action_normalisation=none,
        relative=relative,
    )
    assert "the model writes b, e relative to the state" in one_line(folder)


def test_the_restricted_head_was_held_against_the_full_one(tmp_path: Path) -> None:
    folder = with_accuracy(tmp_path / "b", msgspec.structs.replace(tiny_bundle.ACCURACY, head=HeadCheck(12, 9)))
    assert "of 12 tokens, the full head's best was an action token 9 times, and then the same" in one_line(folder)


def with_accuracy(folder: Path, accuracy: Any, **manifest: Any) -> Path:
    """The tiny bundle with another accuracy.json."""
    tiny_bundle.write(folder)
    (folder / "accuracy.json").write_bytes(accuracy if isinstance(accuracy, bytes) else msgspec.json.encode(accuracy))
    seal(folder, msgspec.structs.replace(tiny_bundle.MANIFEST, **manifest))
    return folder


def test_success_in_simulation_stands_beside_the_errors(tmp_path: Path) -> None:
    closed = ClosedLoop(200, 0.9, 0.93, -0.03, -0.065, 0.005)
    folder = with_accuracy(tmp_path / "b", msgspec.structs.replace(tiny_bundle.ACCURACY, closed_loop=closed))
    words = "closed loop, 200 paired episodes: 90.0% of them, reference 93.0%; difference -3.0% (-6.5% to +0.5%)"
    assert words in one_line(folder)


def test_a_component_without_a_gate_and_a_fail_that_was_accepted(tmp_path: Path) -> None:
    actions = msgspec.structs.replace(tiny_bundle.ACTIONS, gate=QUANTIZED_GATE, mean_share=0.02, verdict="fail")
    components = {"keys": msgspec.structs.replace(tiny_bundle.ROW, gate=None)}
    accuracy = Accuracy("fail", "the float32 bundle", "60 held-out observations", components, actions)
    words = one_line(with_accuracy(tmp_path / "b", accuracy, verdict="accepted"))
    assert "60 held-out observations: accepted: its errors are beyond the gate, and a person accepted that" in words
    assert "keys 1.0000000 4.0e-07 2.0e-06 actions of" in words
    assert "mean 2.00% (at most 1.00%)" in words


@pytest.mark.parametrize(
    ("accuracy", "verdict", "words"),
    [
        (b"{", "pass", "truncated"),
        (b"\xff", "pass", "malformed"),
        (b'{"verdict":"pass"}', "pass", "missing required field `reference`"),
        (b"[" * 200_000, "pass", "Expected `object`, got `array`"),
        (b'{"reference":"\xff"}', "pass", "decode byte 0xff"),
        (
            msgspec.json.encode(tiny_bundle.ACCURACY).replace(b"4e-7", b"null"),
            "pass",
            "Expected `float`, got `null` - at `$.components[...].relative_error`",
        ),
        (tiny_bundle.ACCURACY, "accepted", "verdict is pass, the manifest says accepted"),
        (msgspec.structs.replace(tiny_bundle.ACCURACY, verdict="fail"), "pass", "is fail, the manifest says pass"),
    ],
)
def test_an_accuracy_report_of_another_form(tmp_path: Path, accuracy: Any, verdict: str, words: str) -> None:
    folder = with_accuracy(tmp_path / "b", accuracy, verdict=verdict)
    with pytest.raises(BundleError) as caught:
        inspect(folder)
    assert str(caught.value).startswith(f"{folder / 'accuracy.json'}: ")
    assert "\n" not in str(caught.value)
    assert words in str(caught.value)


def quick(folder: Path, flops: int = 425_000_000_000, **spec: Any) -> Path:
    """A bundle of which an inference takes at least 10 ms on agx-orin-64, once `prefix` is bf16, and 4 × 1 ms."""
    costs = {
        "image": Cost(0, "float32", 0, 0),
        "prefix": Cost(10**6, "bfloat16", 2 * 10**6, flops),
        "step": Cost(102_400_000, "bfloat16", 204_800_000, 10**6),
    }
    return tiny_bundle.write(folder / "b", msgspec.structs.replace(tiny_bundle.MANIFEST, costs=costs), **spec)


def test_the_floor_on_a_device(tmp_path: Path) -> None:
    folder = quick(tmp_path)
    words, facts = inspect(folder, "agx-orin-64")
    for expected in (
        "Jetson AGX Orin 64 GB: 204.8 GB/s; TFLOP/s fp32 5.3, bf16 42.5, fp16 42.5, int8 85",
        "at least 14.0 ms an inference: predicted rate at most 71.4 Hz\n",
        "3 an inference: 214 a second at that rate, 20 needed\n",
        "A floor, not a measurement",
    ):
        assert expected in words
    assert row(words, "component")[-4:] == ["runs", "ms", "limited", "by"]
    assert row(words, "prefix") == ["1,000,000", "bf16", "2.00", "425", "1", "10.0", "arithmetic"]
    assert row(words, "step") == ["102,400,000", "bf16", "205", "0.0010", "4", "4.00", "memory"]
    assert "what if" not in words
    found = json.loads(json.dumps(facts))["roofline"]
    assert (found["device"], found["precision"]) == ("agx-orin-64", "as exported")
    assert found["floor_ms"] == pytest.approx(14.0)
    assert found["rate_hz"] == pytest.approx(1000 / 14)
    assert found["actions_per_s"] == pytest.approx(3000 / 14)
    assert found["actions_needed_per_s"] == pytest.approx(20.0)
    assert [c["runs"] for c in found["components"].values()] == [1, 1, 4]
    assert [c["floor_ms"] for c in found["components"].values()] == pytest.approx([0.0, 10.0, 4.0])


def test_what_if(tmp_path: Path) -> None:
    words, facts = inspect(quick(tmp_path), "agx-orin-64", ("int8", "step=int4"), steps=2)
    assert "the precision were int8, step=int4\n" in words
    assert facts["roofline"]["precision"] == "int8, step=int4"
    assert facts["roofline"]["floor_ms"] == pytest.approx(5.0 + 2 * 0.25)
    assert facts["runs"]["step"] == 2
    assert {c["precision"] for c in facts["roofline"]["components"].values()} == {"fp32", "int8", "int4"}


def test_a_device_that_is_too_slow(tmp_path: Path) -> None:
    folder = quick(tmp_path, flops=85 * 10**12)
    assert "3 an inference: 1.50 a second at that rate, 20 needed: too slow" in one_line(folder, "agx-orin-64")


def test_a_sequence_that_may_end_early(tmp_path: Path) -> None:
    described(tmp_path, FAST)
    words = one_line(tmp_path / "b", "thor")
    assert "≤ 255" in words
    assert "an inference of 256 tokens: predicted rate at most" in words
    assert "Hz; fewer take less" in words


@pytest.mark.parametrize("device", ["", *DEVICES])
def test_it_fits_on_a_hundred_columns(tmp_path: Path, device: str) -> None:
    names = tuple(f"left_arm_joint_{i}" for i in range(14))
    vector, norm = VectorSpec(names, ("rad",) * 14, 32), Normalisation("min_max", (-1.0,) * 14, (1.0,) * 14)
    costs = {
        "image": Cost(123_456, "float32", 493_824, 10**9),
        "prefix": Cost(7_541_237_184, "float32", 30_164_948_736, 12 * 10**12),
        "step": Cost(293_000_000, "float32", 1_172_000_000, 29 * 10**9),
    }
    folder = tiny_bundle.write(
        tmp_path / "b",
        msgspec.structs.replace(tiny_bundle.MANIFEST, costs=costs),
        cameras=tuple(CameraSpec(f"observation.images.camera{i}", 480, 640) for i in range(3)),
        state=vector,
        action=vector,
        state_normalisation=norm,
        action_normalisation=norm,
        relative=(True,) * 13 + (False,),
        prompt=PromptSpec("Task: {instruction}, State: {state};\nAction: ", 200, 2, 0, clean=("strip", "underscore")),
    )
    words, _ = inspect(folder, device, ("bf16", "step=int4"))
    assert [line for line in words.splitlines()[1:] if len(line) > WIDTH] == []


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = quick(tmp_path), tmp_path / "facts.json"
    asked = ["--device", "agx-orin-64", "--precision", "int8", "--precision", "step=int4", "--steps", "2"]
    assert cli.main(["inspect", str(folder), *asked, "--json", str(out)]) == 0
    assert "predicted rate at most 182 Hz" in capsys.readouterr().out
    assert json.loads(out.read_text())["roofline"]["floor_ms"] == pytest.approx(5.5)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--device", "jetson-agx-orin-64"], '--device: there is no "jetson-agx-orin-64", did you mean "agx-orin-64"?'),
        (["--device", "cpu"], '--device: there is no "cpu"; known: agx-orin-32, '),
        (["--precision", "bf61"], '--precision bf61: there is no "bf61", did you mean "bf16"?'),
        (["--precision", "setp=int8"], 'there is no "setp", did you mean "step"?'),
        (["--device", "agx-orin-64", "--precision", "fp8"], "prefix: Jetson AGX Orin 64 GB has no fp8 arithmetic"),
        (["--steps", "5"], "--steps 5: this bundle takes 1 to 4 flow steps"),
        (["--steps", "0"], "invalid value for '--steps'"),
    ],
)
def test_a_name_that_there_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: list[str], words: str
) -> None:
    assert cli.main(["inspect", str(quick(tmp_path)), *asked]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err


def test_the_device_is_checked_before_the_bundle_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(tmp_path / "nothing"), "--device", "orin"]) == 2
    assert '--device: there is no "orin"' in capsys.readouterr().err


def test_costs_in_a_precision_of_no_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle of tomorrow is described; only its floor is not known."""
    costs = tiny_bundle.MANIFEST.costs | {"step": Cost(89, "ternary", 18, 5340)}
    manifest: Manifest = msgspec.structs.replace(tiny_bundle.MANIFEST, costs=costs)
    folder = str(tiny_bundle.write(tmp_path / "b", manifest))
    assert cli.main(["inspect", folder]) == 0
    assert " ternary " in capsys.readouterr().out
    assert cli.main(["inspect", folder, "--device", "thor"]) == 2
    assert "step: Jetson Thor T5000 has no ternary arithmetic" in capsys.readouterr().err


# ── a quantized bundle ──────────────────────────────────────────────────────────────────────────────────────────────

INT8 = Quantization(
    target="jetpack6-orin",
    origin="f" * 64,
    parts={"vision": "int8", "expert": "int4", "head": "fp16"},
    floats={"vision": "fp16", "expert": "bf16", "head": "fp16"},
    ranges="smooth",
    block=128,
    kept=3,
    table="layers.json",
)
ROWS = tuple(
    LayerRow(f"model.layers.{i}.mlp.down.weight", "vision", "int8", (4096, 1024), 100.0 + i, 50.0 + i, 0.01 / (1 + i))
    for i in range(12)
)
WEIGHTS = LayerRow("model.expert.q.weight", "expert", "int4", (1024, 2048), 7.0, 0.0)
MEASURE = "mean change of the actions as a share of their ranges"


def quantized(folder: Path, table: LayerTable | bytes, made: Quantization = INT8, **manifest: Any) -> Path:
    """The tiny bundle, said to be quantized."""
    source = msgspec.structs.replace(tiny_bundle.MANIFEST.source, calibration_sha256="d" * 64)
    changed = msgspec.structs.replace(tiny_bundle.MANIFEST, quantization=made, source=source, **manifest)
    tiny_bundle.write(folder)
    (folder / made.table).write_bytes(table if isinstance(table, bytes) else msgspec.json.encode(table))
    seal(folder, changed)
    return folder


def test_what_a_quantized_bundle_was_made_for_and_of(tmp_path: Path) -> None:
    words = one_line(quantized(tmp_path / "b", LayerTable(2, MEASURE, (*ROWS, WEIGHTS))))
    for expected in (
        "made for jetpack6-orin: Jetson Orin, JetPack 6 parts",
        "expert int4 in blocks of 128, floats bf16; head fp16; vision int8, floats fp16; 3 of their layers kept in",
        "levels of activations up to the largest value seen, after outliers were moved into the weights (smooth)",
        f"calibration data sha256 {'d' * 64}",
        f"original float32 bundle of seal {'f' * 64}",
        f"sensitivity {MEASURE}, over 2 observations, with one layer alone quantized",
    ):
        assert expected in words


def test_the_most_sensitive_layers_come_first(tmp_path: Path) -> None:
    """Whatever their order in the file."""
    table = LayerTable(2, MEASURE, (WEIGHTS, *reversed(ROWS)))
    words, facts = inspect(quantized(tmp_path / "b", table))
    lines = words.splitlines()
    at = next(i for i, line in enumerate(lines) if line.split()[-1:] == ["layer"])
    assert lines[at + 1].split() == ["1.00%", "int8", "4096x1024", "100", "50", "model.layers.0.mlp.down.weight"]
    names = [line.split()[-1] for line in lines[at + 1 : at + 11]]
    assert names == [row.name for row in ROWS[:10]]
    assert lines[at + 11] == "    3 more; --json has all"
    assert len(facts["layers"]["layers"]) == 13
    assert json.loads(json.dumps(facts))["layers"]["layers"][0]["sensitivity"] is None


def test_what_was_not_measured_is_not_ranked(tmp_path: Path) -> None:
    words, facts = inspect(quantized(tmp_path / "b", LayerTable(0, MEASURE, (WEIGHTS, WEIGHTS))))
    assert "sensitivity  of 2 layers not measured\n" in words
    assert "model.expert" not in words
    assert len(facts["layers"]["layers"]) == 2


def test_weights_alone_have_no_levels_and_a_target_of_tomorrow_is_told(tmp_path: Path) -> None:
    made = msgspec.structs.replace(INT8, target="jetpack9-ant", parts={"expert": "int4"}, floats={}, kept=0)
    words = one_line(quantized(tmp_path / "b", LayerTable(1, MEASURE, (WEIGHTS,)), made))
    assert "made for jetpack9-ant: a target that is not known here parts expert int4 in blocks of 128, floats" in words
    assert "levels of activations" not in words
    assert "kept in floating point" not in words


def test_a_long_name_keeps_its_end_and_the_line_its_width(tmp_path: Path) -> None:
    row = LayerRow("a" * 200 + ".the_end", "vision", "int8", (4096, 1024), 1e9, 1e-9, 1e-12)
    words, _ = inspect(quantized(tmp_path / "b", LayerTable(1, MEASURE, (row,))))
    assert "aaa.the_end\n" in words
    assert max(len(line) for line in words.splitlines()[1:]) == WIDTH


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (b"[]", "Expected `object`"),
        (b'{"observations":1,"measure":"m","layers":[{"name":"x"}]}', "missing required field `part`"),
        (b'{"observations":1,"measure":"m","layers":[],"more":1}', "unknown field `more`"),
    ],
)
def test_a_layer_table_of_another_form(tmp_path: Path, table: bytes, words: str) -> None:
    folder = quantized(tmp_path / "b", table)
    with pytest.raises(BundleError) as caught:
        inspect(folder)
    assert str(caught.value).startswith(f"{folder / 'layers.json'}: ")
    assert words in str(caught.value)


def test_a_quantized_bundle_has_a_layer_table(tmp_path: Path) -> None:
    folder = quantized(tmp_path / "b", LayerTable(1, MEASURE, ()))
    made = msgspec.structs.replace(INT8, table="other.json")
    seal(folder, msgspec.structs.replace(tiny_bundle.MANIFEST, quantization=made))
    with pytest.raises(BundleError, match=r"quantization\.table names 'other\.json', which is not among its files"):
        inspect(folder)


def test_the_floor_of_what_is_stored_in_low_precision(tmp_path: Path) -> None:
    costs = {
        "image": Cost(0, "float32", 0, 0),
        "prefix": Cost(1_000_000, "int8", 1_010_000, 850_000_000_000),
        "step": Cost(102_400_000, "int4", 51_200_000, 10**6),
    }
    folder = quantized(tmp_path / "b", LayerTable(1, MEASURE, ()), costs=costs)
    words, facts = inspect(folder, "agx-orin-64")
    assert row(words, "prefix") == ["1,000,000", "int8", "1.01", "850", "1", "10.0", "arithmetic"]
    assert row(words, "step") == ["102,400,000", "int4", "51.2", "0.0010", "4", "1.00", "memory"]
    assert facts["roofline"]["floor_ms"] == pytest.approx(11.0)
    assert inspect(folder, "agx-orin-64", ("bf16",))[1]["roofline"]["floor_ms"] == pytest.approx(24.0)
