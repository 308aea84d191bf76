"""`edge quantize` and `edge verify --against` with graphs written by hand: what they make, refuse, and leave behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest

from edge_runtime import cli
from edge_runtime.accuracy import Accuracy, ClosedLoop
from edge_runtime.bundle import Bundle, open_bundle, seal
from edge_runtime.bundle_spec import PolicySpec, VectorSpec
from edge_runtime.layer_table import LayerTable
from edge_runtime.probes import read_probes
from edge_runtime.verify import answer
from export import quantize_bundle as module
from export.errors import ExportError
from export.quantize_bundle import Asked, quantize_bundle
from export.quantize_dataset import field_map
from tests.export import quantizable
from tests.export.quantizable import HEAD, LAYERS, B, E, V, Weights

Files = dict[str, bytes]


def files(folder: Path) -> Files:
    """Every file below a folder, by name."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


@dataclass(frozen=True)
class Case:
    """A bundle, a recording for it, and a folder for what is made."""

    bundle: Bundle
    data: Path
    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def quantize(self, *words: str, target: str = "cpu", out: Path | None = None, bundle: Path | None = None) -> int:
        given = [str(bundle or self.bundle.path), str(self.data), "-o", str(out or self.out), "--target", target]
        return cli.main(["quantize", *given, "--threads", "1", "--observations", "8", *words])

    def made(self, *words: str, target: str = "cpu", name: str = "out") -> Bundle:
        assert self.quantize(*words, target=target, out=self.folder / name) == 0
        return open_bundle(self.folder / name)

    def table(self, bundle: Bundle) -> LayerTable:
        return msgspec.json.decode((bundle.path / "layers.json").read_bytes(), type=LayerTable)

    def accuracy(self, bundle: Bundle) -> Accuracy:
        return msgspec.json.decode((bundle.path / "accuracy.json").read_bytes(), type=Accuracy)


def case(folder: Path, bundle: Bundle, words: str = quantizable.WORDS, **recording: Any) -> Case:
    data = quantizable.recording(folder / "recording", bundle.spec, words, **recording)
    (folder / "made").mkdir()
    return Case(bundle, data, folder / "made")


@pytest.fixture
def flat(tmp_path: Path) -> Case:
    """The regression policy."""
    return case(tmp_path, quantizable.regression(tmp_path))


@pytest.fixture
def token(tmp_path: Path) -> Case:
    return case(tmp_path, quantizable.tokens(tmp_path / "b"), "12-3")


def refused(found: Case, capsys: pytest.CaptureFixture[str], *words: str, says: str, **asked: Any) -> None:
    """Exit code 2, one line on stderr, nothing on stdout, nothing made, and the bundle is what it was."""
    before, left = files(found.bundle.path), files(found.folder)
    capsys.readouterr()
    assert found.quantize(*words, **asked) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("edge: ")
    assert says in err
    assert files(found.bundle.path) == before
    assert files(found.folder) == left
    assert [path.name for path in found.folder.iterdir()] == [*{name.partition("/")[0] for name in left}]


# ── what is made ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("target", ["cpu", "jetpack6-orin"])
@pytest.mark.parametrize("kind", ["flat", "token"])
def test_a_bundle_that_opens_and_answers(
    request: pytest.FixtureRequest, kind: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found: Case = request.getfixturevalue(kind)
    before = files(found.bundle.path)
    told = found.folder / "told.json"
    made = found.made("--json", str(told), target=target)
    printed = capsys.readouterr().out
    assert cli.main(["inspect", str(made.path)]) == 0
    assert capsys.readouterr().out == printed, "what edge inspect prints"
    assert f"made for     {target}" in printed
    assert json.loads(told.read_text())["manifest"]["seal"] == made.manifest.seal
    assert files(found.bundle.path) == before
    quantization = made.manifest.quantization
    assert quantization is not None
    assert (quantization.target, quantization.origin) == (target, found.bundle.manifest.seal)
    assert quantization.floats["backbone"] == ("fp32" if target == "cpu" else "fp16")
    assert made.manifest.source.calibration_sha256
    assert made.manifest.verdict == found.accuracy(made).verdict == "pass"
    assert found.accuracy(made).actions.observations == len(read_probes(made)) == 4
    assert cli.main(["verify", str(made.path)]) == 0
    kept = {"tokenizer.json", "constants.safetensors", "image.onnx"}
    assert {name: files(made.path)[name] for name in kept} == {name: before[name] for name in kept}
    assert [path.name for path in found.folder.iterdir() if path.is_dir()] == ["out"]


def test_the_table_of_layers(flat: Case) -> None:
    made = flat.made(target="jetpack6-orin")
    table = flat.table(made)
    rows = {row.name: row for row in table.layers}
    assert set(rows) == set(LAYERS)
    assert (rows[V + "a"].precision, rows[V + "a"].level, rows[V + "a"].sensitivity) == ("fp16", 0.0, None)
    assert (rows[B + "down"].precision, rows[B + "down"].part, rows[B + "down"].shape) == ("int8", "backbone", (32, 16))
    assert all(row.largest > row.level > 0.0 for name, row in rows.items() if name != V + "a")
    sensitive = [row.sensitivity or 0.0 for row in table.layers]
    assert sensitive == sorted(sensitive, reverse=True)
    assert (table.observations, sensitive[0] > 0.0) == (2, True)


def test_without_sensitivity(flat: Case) -> None:
    table = flat.table(flat.made("--no-sensitivity"))
    assert table.observations == 0
    assert {row.sensitivity for row in table.layers} == {None}
    assert [row.name for row in table.layers] == sorted(LAYERS)


@pytest.mark.parametrize("ranges", ["max", "percentile", "smooth"])
def test_each_way_to_choose_levels(flat: Case, ranges: str) -> None:
    made = flat.made("--ranges", ranges, "--no-sensitivity", "--accept-accuracy")
    assert made.manifest.quantization is not None
    assert made.manifest.quantization.ranges == ranges
    rows = flat.table(made).layers
    assert all((row.level < row.largest) == (ranges == "smooth") for row in rows), "too few values for a percentile"


def test_the_expert_in_int4(flat: Case) -> None:
    """Standard ONNX from opset 21 on; the prefix, which has none, keeps to opset 20."""
    made = flat.made("--precision", "expert=int4", "--block", "16", "--accept-accuracy", target="jetpack6-orin")
    assert made.manifest.quantization is not None
    assert made.manifest.quantization.parts["expert"] == "int4"
    assert made.manifest.quantization.block == 16
    rows = {row.name: row for row in flat.table(made).layers}
    assert {rows[E + name].precision for name in ("up", "gate", "out")} == {"int4"}
    assert {rows[E + name].level for name in ("up", "gate", "out")} == {0.0}
    proto = onnx.load(str(made.graph("model")))
    kinds = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    assert (proto.opset_import[0].version, kinds[E + "up.int4"]) == (21, onnx.TensorProto.INT4)
    assert cli.main(["verify", str(made.path)]) == 0


def test_keep_fp_keeps_the_most_sensitive(flat: Case) -> None:
    every = flat.table(flat.made()).layers
    made = flat.made("--keep-fp", "2", name="kept")
    rows = flat.table(made).layers
    assert made.manifest.quantization is not None
    assert made.manifest.quantization.kept == 2
    assert [row.precision for row in rows] == ["fp32", "fp32", *["int8"] * 5]
    assert [row.name for row in rows] == [row.name for row in every]
    assert [row.sensitivity for row in rows] == [row.sensitivity for row in every]
    quantized = {t.name for t in onnx.load(str(made.graph("model"))).graph.initializer if t.name.endswith(".int8")} - {
        "zero.int8"
    }
    assert quantized == {f"{row.name}.int8" for row in rows[2:]}


def test_every_layer_may_be_kept(flat: Case) -> None:
    made = flat.made("--keep-fp", str(len(LAYERS)))
    assert {row.precision for row in flat.table(made).layers} == {"fp32"}
    assert flat.accuracy(made).actions.max_share < 1e-4


def test_a_layer_of_two_graphs_is_kept_in_both(token: Case) -> None:
    made = token.made("--keep-fp", "1", target="jetpack6-orin")
    first = token.table(made).layers[0]
    assert (first.name.startswith(B), first.precision) == (True, "fp16")
    for name in ("prefill", "decode"):
        weights = {tensor.name for tensor in onnx.load(str(made.graph(name))).graph.initializer}
        assert f"{first.name}.int8" not in weights
        assert {f"{B}{layer}.int8" for layer in ("q", "k", "down") if B + layer != first.name} <= weights


def test_a_weight_of_two_graphs_has_one_scale(token: Case) -> None:
    made = token.made("--no-sensitivity")
    found = []
    for name in ("prefill", "decode"):
        graph = onnx.load(str(made.graph(name))).graph
        stored = {t.name: t.raw_data for t in graph.initializer}
        levels = sorted(data for name, data in stored.items() if ".scale" in name and B + "late" not in name)
        found.append((stored, levels))
    for layer in ("q", "k", "down"):
        for what in ("int8", "scale"):
            assert found[0][0][f"{B}{layer}.{what}"] == found[1][0][f"{B}{layer}.{what}"]


def test_a_decoder_that_was_never_reached_stays_in_floating_point(tmp_path: Path) -> None:
    found = case(tmp_path, quantizable.tokens(tmp_path / "b", stops=True), "12-3")
    made = found.made(target="jetpack6-orin")
    rows = {row.name: row for row in found.table(made).layers}
    late = rows[B + "late"]
    assert (late.precision, late.largest, late.level, late.sensitivity) == ("fp16", 0.0, 0.0, None)
    assert {rows[B + name].precision for name in ("q", "k", "down")} == {"int8"}
    assert cli.main(["verify", str(made.path)]) == 0


def test_the_same_call_gives_the_same_files(token: Case) -> None:
    words = ("--precision", "vision=bf16", "--keep-fp", "1")
    a, b = (token.made(*words, target="jetpack6-orin", name=name) for name in ("a", "b"))
    assert files(a.path) == files(b.path)
    other = token.made(*words, "--seed", "1", target="jetpack6-orin", name="c")
    assert files(other.path)["probes.safetensors"] != files(a.path)["probes.safetensors"]
    assert other.manifest.source.calibration_sha256 != a.manifest.source.calibration_sha256


def test_an_older_bundle_in_the_way_is_replaced(flat: Case) -> None:
    first = flat.made("--no-sensitivity")
    (first.path / "engines").mkdir()
    (first.path / "engines" / "old").write_text("made for what was there")
    second = flat.made("--no-sensitivity", "--ranges", "max")
    assert second.manifest.seal != first.manifest.seal
    assert not (second.path / "engines").exists()


def test_a_graph_in_a_folder_of_the_bundle(flat: Case) -> None:
    path = flat.bundle.path
    (path / "graphs").mkdir()
    flat.bundle.graph("model").rename(path / "graphs" / "m.onnx")
    graphs = {"image": "image.onnx", "model": "graphs/m.onnx"}
    seal(path, msgspec.structs.replace(flat.bundle.manifest, graphs=graphs))
    made = flat.made("--no-sensitivity")
    assert made.graph("model") == made.path / "graphs" / "m.onnx"
    assert made.graph("model").read_bytes() != (path / "graphs" / "m.onnx").read_bytes()


# ── the gate ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def coarse(tmp_path: Path) -> Case:
    """An int8 scale that one weight decides, on a channel that is silent: too coarse for all others."""

    def spoil(weights: Weights) -> None:
        weights[E + "norm"][0] = 1e-6
        for name in (E + "gate", E + "out"):
            weights[name][0] = 40.0

    return case(tmp_path, quantizable.regression(tmp_path, spoil))


def test_a_bundle_beyond_the_gate_is_not_sealed(coarse: Case, capsys: pytest.CaptureFixture[str]) -> None:
    refused(coarse, capsys, "--ranges", "max", says="accuracy: actions are off by ")
    refused(coarse, capsys, "--ranges", "max", says="nothing was written: try --keep-fp, ")


def test_unless_a_person_accepts_that(coarse: Case, capsys: pytest.CaptureFixture[str]) -> None:
    made = coarse.made("--ranges", "max", "--accept-accuracy")
    assert (made.manifest.verdict, coarse.accuracy(made).verdict) == ("accepted", "fail")
    assert "a person accepted that" in capsys.readouterr().out
    assert cli.main(["verify", str(made.path)]) == 1
    assert "verdict: fail, as it was sealed" in capsys.readouterr().out


def test_what_is_not_finite_nobody_can_accept(
    flat: Case, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = module.judge

    def broken(*given: Any) -> Any:
        accuracy, probes = found(*given)
        errors = msgspec.structs.replace(accuracy.actions, max=float("inf"), verdict="fail")
        return msgspec.structs.replace(accuracy, verdict="fail", actions=errors), probes

    monkeypatch.setattr(module, "judge", broken)
    refused(flat, capsys, "--accept-accuracy", "--no-sensitivity", says="accuracy: actions are not finite")


def test_keeping_the_layers_that_the_table_names_mends_it(coarse: Case) -> None:
    made = coarse.made("--ranges", "max", "--keep-fp", "2")
    assert made.manifest.verdict == "pass"
    kept = {row.name for row in coarse.table(made).layers if row.precision == "fp32"}
    assert kept == {E + "gate", E + "out"}


def test_a_bundle_that_passes_is_not_accepted_but_passes(flat: Case) -> None:
    assert flat.made("--accept-accuracy", "--no-sensitivity").manifest.verdict == "pass"


def test_a_failed_run_leaves_the_older_bundle(coarse: Case, capsys: pytest.CaptureFixture[str]) -> None:
    older = coarse.made("--ranges", "max", "--accept-accuracy", "--no-sensitivity")
    refused(coarse, capsys, "--ranges", "max", "--no-sensitivity", says="accuracy: ")
    assert open_bundle(coarse.out).manifest.seal == older.manifest.seal


def test_tokens_that_differ_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def spoil(weights: Weights) -> None:
        if B + "norm" in weights:
            weights[B + "norm"][0] = 1e-6
            weights[B + "q"][0] = weights[B + "k"][0] = 60.0

    found = case(tmp_path, quantizable.tokens(tmp_path / "b", spoil=spoil), "12-3")
    refused(found, capsys, "--ranges", "max", "--no-sensitivity", says=" of tokens the same (gate 90%)")


def test_a_bundle_that_sees_nothing_is_told_to_be_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def spoil(weights: Weights) -> None:
        weights[V + "a"][:] = 0.0

    found = case(tmp_path, quantizable.regression(tmp_path, spoil))
    says = "accuracy: the same observation gave another answer, or another one the same; nothing was written"
    refused(found, capsys, "--no-sensitivity", says=says)


# ── bad input ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "target", "says"),
    [
        ((), "cup", 'target "cup": there is none, did you mean "cpu"?'),
        ((), "", 'target "": there is none'),
        (("--precision", "expert=fp8"), "jetpack6-orin", "(jetpack6-orin) has no fp8; it has"),
        (("--precision", "expert=fp4"), "jetpack7-orin", "(jetpack7-orin) has no fp4"),
        (("--precision", "exprt=int8"), "cpu", 'there is no part "exprt", did you mean "expert"?'),
        (("--precision", "expert"), "cpu", "--precision expert: expected PART=PRECISION"),
        (("--precision", "expert=int4"), "cpu", f"{E}up has 16 inputs, which blocks of 128 do not divide"),
        (("--precision", "expert=int4", "--block", "48"), "cpu", "which blocks of 48 do not divide"),
        (("--keep-fp", "8"), "cpu", "--keep-fp 8: there are 7 layers to be quantized"),
        (("--keep-fp", "7"), "jetpack6-orin", "--keep-fp 7: there are 6 layers to be quantized"),
        (("--keep-fp", "1", "--no-sensitivity"), "cpu", "--keep-fp: needs the sensitivity table"),
        (("--keep-fp", "-1"), "cpu", "quantize: invalid value for '--keep-fp'"),
        (("--block", "8"), "cpu", "quantize: invalid value for '--block'"),
        (("--observations", "1"), "cpu", "quantize: invalid value for '--observations'"),
        (("--ranges", "entropy"), "cpu", "quantize: invalid value for '--ranges'"),
        (("--map", "base"), "cpu", "--map base: expected NAME=FIELD, each name once"),
        (("--map", "base=wrist", "--map", "base=base"), "cpu", "--map base=base: expected NAME=FIELD, each name once"),
        (("--map", "top=base"), "cpu", 'the policy has no "top"; known: base, wrist, state'),
        (("--map", "base=top"), "cpu", 'no camera "top", for the policy\'s "base": map base=FIELD'),
        (("--map", "state=joints"), "cpu", 'no vector "joints" for the policy\'s state'),
        (("--map", "state=state[0:1]"), "cpu", "gives 1 dimensions, the policy's state has 2"),
        (("--map", "base=", "--map", "wrist="), "cpu", "every camera of the policy is left out"),
    ],
)
def test_what_is_asked_in_vain(
    flat: Case, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], target: str, says: str
) -> None:
    refused(flat, capsys, *words, target=target, says=says)


def test_a_part_that_the_model_has_not(token: Case, capsys: pytest.CaptureFixture[str]) -> None:
    refused(
        token, capsys, "--precision", "expert=int4", says="this model has no expert; it has vision, table, backbone"
    )


def test_a_bundle_that_is_quantized_already(flat: Case, capsys: pytest.CaptureFixture[str]) -> None:
    made = flat.made("--no-sensitivity", name="first")
    says = "first: is already quantized, for cpu; quantize the bundle that it was made of"
    refused(flat, capsys, bundle=made.path, says=says)


@pytest.mark.parametrize("place", ["", "inside", "engines/x", ".."])
def test_a_place_that_would_change_the_original(flat: Case, capsys: pytest.CaptureFixture[str], place: str) -> None:
    says = "is the original itself" if not place else "one bundle would be inside the other"
    refused(flat, capsys, out=flat.bundle.path / place, says=says)


def test_a_link_to_the_original(flat: Case, capsys: pytest.CaptureFixture[str]) -> None:
    link = flat.folder / "link"
    link.symlink_to(flat.bundle.path)
    before = files(flat.bundle.path)
    assert flat.quantize(out=link) == 2
    assert "is the original itself" in capsys.readouterr().err
    assert files(flat.bundle.path) == before
    assert [path.name for path in flat.folder.iterdir()] == ["link"]


def test_a_place_that_holds_something_else(flat: Case, capsys: pytest.CaptureFixture[str]) -> None:
    flat.out.mkdir()
    (flat.out / "thesis.txt").write_text("years of work")
    refused(flat, capsys, says="exists and has no manifest.json; give another place")


def test_a_bundle_that_was_changed(flat: Case, capsys: pytest.CaptureFixture[str]) -> None:
    graph = flat.bundle.graph("model")
    graph.write_bytes(graph.read_bytes()[:-1])
    refused(flat, capsys, says="model.onnx: has ")


def test_what_is_no_bundle_and_no_dataset(flat: Case, capsys: pytest.CaptureFixture[str]) -> None:
    refused(flat, capsys, bundle=flat.data, says="this is no bundle")
    nowhere = Case(flat.bundle, flat.folder / "nowhere", flat.folder)
    refused(nowhere, capsys, says="nowhere: no such folder")
    empty = Case(flat.bundle, flat.bundle.path, flat.folder)
    refused(empty, capsys, says="is of no known format")


def blank(state: np.ndarray, frames: dict[str, np.ndarray]) -> None:
    frames["base"][:] = 7


def stuck(state: np.ndarray, frames: dict[str, np.ndarray]) -> None:
    frames["wrist"][:] = np.arange(27).reshape(3, 3, 3) * 9


def still(state: np.ndarray, frames: dict[str, np.ndarray]) -> None:
    state[:] = 0.5


def lost(state: np.ndarray, frames: dict[str, np.ndarray]) -> None:
    state[1] = np.nan


@pytest.mark.parametrize(
    ("recording", "says"),
    [
        ({"episodes": 1}, "1 usable episodes; a calibration set needs two, one of them to be held out"),
        ({"episodes": 0}, ""),
        ({"change": blank}, '"base" is blank in all 12 samples; map another camera to it'),
        ({"change": stuck}, '"wrist" shows one and the same picture in all 12 samples'),
        ({"change": still}, "the state is one and the same in all 12 samples"),
        ({"change": lost}, "state not finite"),
        (
            {"words": "pick up the red cup"},
            "shorten it ('pick up the red cup'…); --on-corrupt skip leaves such episodes out",
        ),
        ({"words": ""}, "the instruction is empty; say what the robot is to do; --on-corrupt skip leaves such"),
    ],
)
def test_recordings_that_cannot_show_what_the_policy_sees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recording: dict[str, Any], says: str
) -> None:
    refused(case(tmp_path, quantizable.regression(tmp_path), **recording), capsys, says=says)


def test_a_recording_without_the_camera(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = quantizable.regression(tmp_path)
    spec = quantizable.changed(bundle.spec, cameras=bundle.spec.cameras[1:])
    data = quantizable.recording(tmp_path / "recording", spec)
    (tmp_path / "made").mkdir()
    refused(Case(bundle, data, tmp_path / "made"), capsys, says='no camera "base", for the policy\'s "base"')


def test_float16_that_ranges_do_not_allow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By name it is refused; of itself, the part is in bfloat16."""

    def louder(weights: Weights) -> None:
        weights[E + "norm"] *= np.float32(1e5)
        for name in (E + "gate", E + "out"):
            weights[name] /= np.float32(1e5)

    found = case(tmp_path, quantizable.regression(tmp_path, louder))
    words = ("--no-sensitivity", "--accept-accuracy", "--precision")
    refused(found, capsys, *words, "expert=fp16", target="jetpack6-orin", says="--precision expert=fp16: model: ")
    refused(found, capsys, *words, "expert=fp16", target="jetpack6-orin", says="use expert=bf16")
    made = found.made(*words[:2], target="jetpack6-orin")
    assert made.manifest.quantization is not None
    assert made.manifest.quantization.floats["expert"] == "bf16"
    assert made.manifest.quantization.floats["vision"] == "fp16"


def damage(data: Path) -> None:
    """Cut off the last record of the last episode."""
    last = sorted(data.glob("episode-*"))[-1]
    last.write_bytes(last.read_bytes()[:-20])


def test_damaged_records_end_it_unless_told_otherwise(flat: Case, capsys: pytest.CaptureFixture[str]) -> None:
    damage(flat.data)
    refused(flat, capsys, says="episode-000003.rec")
    assert flat.quantize("--on-corrupt", "skip", "--no-sensitivity") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("edge: tiny: 1 record left out, the first: ")
    assert "episode-000003.rec" in line


def reworded(data: Path, spec: PolicySpec, words: str) -> None:
    """Put an episode with other words in the place of the last one."""
    other = quantizable.recording(data.parent / "reworded", spec, words)
    last = sorted(data.glob("episode-*"))[-1]
    last.write_bytes((other / last.name).read_bytes())


@pytest.mark.parametrize("words", ["", "pick up the red cup"])
def test_an_instruction_that_is_not_taken_costs_one_episode(
    flat: Case, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    reworded(flat.data, flat.bundle.spec, words)
    refused(flat, capsys, says="; --on-corrupt skip leaves such episodes out")
    made = flat.made("--on-corrupt", "skip", "--no-sensitivity")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("edge: tiny: 1 record left out, the first: ")
    assert "episode-000003.rec" in line
    assert against(flat, made) == 2
    assert capsys.readouterr().err.endswith("; --on-corrupt skip leaves such episodes out\n")
    told = flat.folder / "told.json"
    assert against(flat, made, "--on-corrupt", "skip", "--json", str(told)) == 0
    assert capsys.readouterr().err.splitlines() == [line]
    stored, facts = json.loads((made.path / "accuracy.json").read_bytes()), json.loads(told.read_text())
    assert {name: facts[name] for name in stored} == stored


def test_no_tokenizer_is_said_before_anything_is_read(
    flat: Case, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wordless = msgspec.structs.replace(flat.bundle.manifest, tokenizer="")
    seal(flat.bundle.path, wordless)
    monkeypatch.setattr("export.quantize_dataset.samples", lambda *asked, **named: pytest.fail("it was read"))
    refused(flat, capsys, says="has no tokenizer, and a dataset's instructions are words: export it with --tokenizer")


def test_what_is_resized_and_what_is_not_used_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = quantizable.regression(tmp_path)
    base = bundle.spec.cameras[0]
    larger = msgspec.structs.replace(base, height=2 * base.height, width=2 * base.width)
    action = VectorSpec(("a", "b", "c"), ("",) * 3, bundle.spec.action.padded)
    spec = quantizable.changed(bundle.spec, cameras=(larger, *bundle.spec.cameras[1:]), action=action)
    found = Case(bundle, quantizable.recording(tmp_path / "recording", spec), tmp_path / "made")
    found.folder.mkdir()
    assert found.quantize("--no-sensitivity") == 0
    assert capsys.readouterr().err.splitlines() == [
        f"edge: tiny: camera {base.name}: frames of {larger.height}×{larger.width} are resized to "
        f"{base.height}×{base.width} for calibration",
        f"edge: tiny: actions have 3 dimensions and the policy's {bundle.spec.action.dims}; only observations are used",
    ]


# ── interrupted ─────────────────────────────────────────────────────────────────────────────────────────────────────

STEPS = ("bundle", "observations", "ranges", "sensitivity", "model", "verification", "seal")


@pytest.mark.parametrize("when", STEPS)
def test_an_interrupt_leaves_nothing(
    flat: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], when: str
) -> None:
    before = files(flat.bundle.path)

    def tell(what: str, part: float) -> None:
        if what == when:
            raise KeyboardInterrupt

    @contextmanager
    def progress(first: str) -> Iterator[Any]:
        yield tell

    monkeypatch.setattr("edge_runtime.commands.precision.progress", progress)
    assert flat.quantize() == 130
    out, err = capsys.readouterr()
    assert (out, err.strip()) == ("", "edge: interrupted")  # click ends the line of ^C
    assert files(flat.bundle.path) == before
    assert list(flat.folder.iterdir()) == []


def test_progress_goes_through_every_step(flat: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, float]] = []

    @contextmanager
    def progress(first: str) -> Iterator[Any]:
        assert first == "bundle"
        yield lambda what, part: told.append((what, part))

    monkeypatch.setattr("edge_runtime.commands.precision.progress", progress)
    flat.made()
    assert list(dict.fromkeys(what for what, _ in told)) == [*STEPS, "done"]
    parts = [part for _, part in told]
    assert parts == sorted(parts)
    assert (parts[0], parts[-1]) == (0.0, 1.0)
    assert len({part for what, part in told if what == "observations"}) > 4, "each of four episodes is told"


# ── what has no option ──────────────────────────────────────────────────────────────────────────────────────────────


def samples_of(found: Case) -> Any:
    from calibration.observations import samples
    from calibration.open_dataset import open_dataset

    return lambda bundle, told: samples(open_dataset(found.data), bundle.spec, {}, count=8, seed=0)


def test_a_simulation_judges_the_sealed_bundle(flat: Case) -> None:
    loop = ClosedLoop(10, 0.9, 0.8, 0.1, -0.1, 0.3)

    def simulate(path: Path) -> ClosedLoop:
        assert open_bundle(path).manifest.verdict == "pass"
        return loop

    told: list[str] = []
    quantize_bundle(
        flat.bundle.path,
        samples_of(flat),
        flat.out,
        Asked("cpu", sensitivity=False, threads=1),
        lambda what, part: told.append(what),
        simulate,
    )
    made = open_bundle(flat.out)
    assert flat.accuracy(made).closed_loop == loop
    assert list(dict.fromkeys(told))[-3:] == ["seal", "closed loop", "done"]


def test_a_simulation_that_fails_leaves_nothing(flat: Case) -> None:
    def simulate(path: Path) -> ClosedLoop:
        raise ExportError("the arm fell over")

    with pytest.raises(ExportError, match="the arm fell over"):
        quantize_bundle(
            flat.bundle.path,
            samples_of(flat),
            flat.out,
            Asked("cpu", sensitivity=False, threads=1),
            closed_loop=simulate,
        )
    assert list(flat.folder.iterdir()) == []


@pytest.mark.parametrize("words", ["base", "=image", "", "="])
def test_field_map_refuses(words: str) -> None:
    with pytest.raises(ExportError, match="expected NAME=FIELD"):
        field_map([words])


def test_field_map() -> None:
    assert field_map(["base=image_0", "wrist=", "state=a=b"]) == {"base": "image_0", "wrist": "", "state": "a=b"}


def test_no_sensitive_layer_is_looked_for_twice(flat: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The float32 bundle's hashes are read once, before the long work."""
    opened: list[Path] = []
    original = module.open_bundle
    monkeypatch.setattr(module, "open_bundle", lambda path: opened.append(path) or original(path))
    flat.made("--no-sensitivity")
    assert opened == [flat.bundle.path]


# ── edge verify --against ───────────────────────────────────────────────────────────────────────────────────────────


def against(found: Case, made: Bundle, *words: str, reference: Path | None = None, data: Path | None = None) -> int:
    given = ["--against", str(reference or found.bundle.path), "--data", str(data or found.data)]
    return cli.main(["verify", str(made.path), *given, *words])


@pytest.mark.parametrize("target", ["cpu", "jetpack6-orin"])
@pytest.mark.parametrize("kind", ["flat", "token"])
def test_the_same_data_give_the_same_accuracy(
    request: pytest.FixtureRequest, kind: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What stands in accuracy.json, computed anew: what was held out is all of one episode."""
    found: Case = request.getfixturevalue(kind)
    made = found.made("--no-sensitivity", "--seed", "3", target=target)
    capsys.readouterr()
    told = found.folder / "told.json"
    assert against(found, made, "--seed", "3", "--json", str(told)) == 0
    stored = json.loads((made.path / "accuracy.json").read_bytes())
    facts = json.loads(told.read_text())
    assert {name: facts[name] for name in stored} == stored
    assert (facts["path"], facts["against"]) == (str(made.path), str(found.bundle.path))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{made.path}:"
    assert lines[1] == f"  against the float32 bundle {found.bundle.manifest.seal[:16]} in ONNX Runtime, " + (
        "4 held-out observations"
    )
    for row, name in zip(lines[2:], stored["components"], strict=False):
        assert row.split()[:2] == [name, "cosine"]
    assert lines[-1] == "  verdict: pass"


def test_other_data_give_other_figures(flat: Case, tmp_path: Path) -> None:
    made = flat.made("--no-sensitivity")

    def loud(state: np.ndarray, frames: dict[str, np.ndarray]) -> None:
        state *= 40.0
        frames["base"] //= 3

    data = quantizable.recording(tmp_path / "other", flat.bundle.spec, change=loud)
    told = tmp_path / "told.json"
    assert against(flat, made, "--json", str(told), data=data) == 0
    facts = json.loads(told.read_text())
    assert facts["observations"] == "4 held-out observations"
    assert facts["components"] != json.loads((made.path / "accuracy.json").read_bytes())["components"]


def test_a_bundle_beyond_the_gate_is_exit_code_1(coarse: Case, capsys: pytest.CaptureFixture[str]) -> None:
    made = coarse.made("--ranges", "max", "--no-sensitivity", "--accept-accuracy")
    assert against(coarse, made) == 1
    assert capsys.readouterr().out.endswith("verdict: fail\n")


def test_a_backend_that_is_named_runs_the_bundle(flat: Case, tmp_path: Path) -> None:
    made = flat.made("--no-sensitivity", target="jetpack6-orin")
    found = {}
    for backend in ("torch", "ort"):
        told = tmp_path / f"{backend}.json"
        assert against(flat, made, "--backend", backend, "--json", str(told)) == 0
        found[backend] = json.loads(told.read_text())
    assert [facts["backend"] for facts in found.values()] == ["torch", "ort"]
    assert found["torch"]["actions"] != found["ort"]["actions"], "ONNX Runtime computes float16 in float32"


def test_verify_against_refuses(flat: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = flat.made("--no-sensitivity")

    def louder(weights: Weights) -> None:
        weights[HEAD] *= np.float32(2.0)

    other = quantizable.regression(tmp_path / "other", louder)
    capsys.readouterr()
    data = str(flat.data)
    for words, says in (
        ((str(made.path), "--against", str(flat.bundle.path)), "--against and --data go together"),
        ((str(made.path), "--data", data), "--against and --data go together"),
        ((str(made.path), "--seed", "0"), "--map, --observations, --seed and --on-corrupt: only with --against"),
        ((str(made.path), "--map", "base=base"), ": only with --against and --data"),
        ((str(made.path), "--observations", "3"), ": only with --against and --data"),
        ((str(made.path), "--on-corrupt", "fail"), ": only with --against and --data"),
        (
            (str(made.path), "--against", str(other.path), "--data", data),
            f"was made of {flat.bundle.manifest.seal[:16]}",
        ),
        ((str(made.path), "--against", str(made.path), "--data", data), "name the bundle that it was made of"),
        ((str(flat.bundle.path), "--against", str(flat.bundle.path), "--data", data), "is in float32"),
        ((str(made.path), "--against", str(flat.bundle.path), "--data", str(tmp_path / "no")), "no such folder"),
        ((str(made.path), "--against", str(tmp_path / "no"), "--data", data), "no such bundle"),
        (
            (str(made.path), "--against", str(flat.bundle.path), "--data", data, "--backend", "orr"),
            'there is no "orr", did you mean "ort"?',
        ),
        (
            (str(made.path), "--against", str(flat.bundle.path), "--data", data, "--map", "top=base"),
            'the policy has no "top"',
        ),
    ):
        assert cli.main(["verify", *words]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert says in err


def test_probes_of_a_quantized_bundle_are_the_originals_answers(flat: Case) -> None:
    from edge_runtime.backends import ort
    from edge_runtime.policies.runners import runner

    made = flat.made("--no-sensitivity")
    policy = runner(flat.bundle, ort.Engine())
    for probe in read_probes(made):
        np.testing.assert_array_equal(answer(policy, probe)[0], probe.actions)
