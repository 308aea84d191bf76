"""`edge infer`: a policy once, on an observation from a file; what does not fit is one line and leaves no file."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edge_runtime import cli
from edge_runtime.bundle import Bundle, seal
from edge_runtime.bundle_spec import CameraSpec, Normalisation, PromptSpec, VectorSpec
from edge_runtime.errors import BundleError, InstructionError, MalformedTokens, ObservationError
from edge_runtime.infer import Asked, Inferred, infer, text
from tests.conftest import ROOT
from tests.edge_runtime import tiny_tokenizer
from tests.edge_runtime.policies import token_bundle
from tests.edge_runtime.policies.arithmetic import (
    Array,
    Parts,
    flow_bundle,
    flow_graphs,
    regression_bundle,
    regression_graphs,
    serve,
    token_graphs,
)

IMAGES = {"image.base": np.full((4, 6, 3), 1, np.uint8), "image.wrist": np.full((3, 3, 3), 2, np.uint8)}
STATE = np.array([1.5, 10.0], np.float32)
TOKENS = np.array([5, 6, 9, 0], np.int64)
MASK = np.array([True, True, False, False])
TOLD = {**IMAGES, "state": STATE, "tokens": TOKENS, "token_mask": MASK}
MEAN, DEVIATION = np.array([-1.0, 3.0]), np.array([2.0, 0.25])


class Bench:
    """A flow bundle over arithmetic, and an observation file that a test changes."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch
        self.bundle = flow_bundle(folder)
        self.serve(Parts(flow_graphs()))
        self.file = folder / "observation.safetensors"
        self.out = folder / "results" / "actions.safetensors"

    def serve(self, parts: Parts, bundle: Bundle | None = None) -> None:
        serve(self._monkeypatch, parts)
        self.bundle = bundle or self.bundle

    def observe(self, without: tuple[str, ...] = (), **changed: Any) -> Path:
        """Write the observation: `TOLD`, `without` some of it; "image_base" stands for "image.base"."""
        tensors = TOLD | {name.replace("image_", "image."): tensor for name, tensor in changed.items()}
        save_file({name: tensor for name, tensor in tensors.items() if name not in without}, self.file)
        return self.file

    def infer(self, **asked: Any) -> Inferred:
        return infer(self.bundle.path, self.file, Asked(**asked))

    def edge(self, *options: str) -> int:
        argv = ["infer", str(self.bundle.path), "--observation", str(self.file), "-o", str(self.out), *options]
        return cli.main(argv)

    def refused(self, error: type[Exception] = ObservationError, **asked: Any) -> str:
        with pytest.raises(error) as caught:
            self.infer(**asked)
        assert "\n" not in str(caught.value)
        return str(caught.value).removeprefix(f"{self.file}: ")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path, monkeypatch)
    made.observe()
    return made


def flowed(noise: float | Array, pixels: float = 3.0, tokens: float = 11.0, state: float = 3.0) -> Array:
    """The chunk by hand, in the robot's units: four steps of -1/4 from `noise`, see `arithmetic`."""
    normalised = np.broadcast_to(noise, (3, 5))[:, :2] - (pixels + tokens + 10.0 * state + 2.5 / 4)
    return normalised * DEVIATION + MEAN


# ── what comes out ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_actions_are_in_the_robots_units_and_in_the_models(bench: Bench) -> None:
    bench.observe(noise=np.full((3, 5), 100.0, np.float32))
    found = bench.infer()
    assert set(found.tensors) == {"actions", "actions_normalized"}
    assert found.tensors["actions"].dtype == found.tensors["actions_normalized"].dtype == np.float32
    np.testing.assert_allclose(found.tensors["actions"], flowed(100.0), rtol=1e-6)
    np.testing.assert_allclose(found.tensors["actions_normalized"], (flowed(100.0) - MEAN) / DEVIATION, rtol=1e-6)
    assert found.milliseconds > 0


def test_a_camera_left_out_is_missing(bench: Bench) -> None:
    bench.observe(without=("image.wrist",), noise=np.zeros((3, 5), np.float32))
    np.testing.assert_allclose(bench.infer().tensors["actions"], flowed(0.0, pixels=1.0), rtol=1e-6)


def test_a_camera_that_cannot_be_left_out(bench: Bench) -> None:
    cameras = (CameraSpec("base", 4, 6), CameraSpec("wrist", 3, 3, "refuse"))
    bench.serve(Parts(flow_graphs()), flow_bundle(bench.folder / "strict", cameras=cameras))
    bench.observe(without=("image.wrist",))
    assert bench.refused() == "camera wrist: there is no frame, and this policy cannot do without one"


def test_an_instruction_takes_the_place_of_tokens(bench: Bench) -> None:
    bench.observe(without=("tokens", "token_mask"), noise=np.zeros((3, 5), np.float32))
    found = bench.infer(instruction="up")
    said = [2, tiny_tokenizer.IDS["up"], tiny_tokenizer.IDS["\n"]]
    assert found.prompt.tokens[:3].tolist() == said
    np.testing.assert_allclose(found.tensors["actions"], flowed(0.0, tokens=sum(said)), rtol=1e-6)
    bench.observe(noise=np.zeros((3, 5), np.float32))  # and goes before those of the file
    assert bench.infer(instruction="up").tensors["actions"].tolist() == found.tensors["actions"].tolist()


@pytest.mark.parametrize("shape", [(4,), (1, 4)])
@pytest.mark.parametrize("mask", [MASK, MASK.astype(np.int64)])
def test_tokens_with_or_without_a_batch_of_one(bench: Bench, shape: tuple[int, ...], mask: Array) -> None:
    bench.observe(tokens=TOKENS.reshape(shape), token_mask=mask.reshape(shape), noise=np.zeros((3, 5), np.float32))
    np.testing.assert_allclose(bench.infer().tensors["actions"], flowed(0.0), rtol=1e-6)


def test_without_a_mask_every_token_counts(bench: Bench) -> None:
    bench.observe(without=("token_mask",), noise=np.zeros((3, 5), np.float32))
    np.testing.assert_allclose(bench.infer().tensors["actions"], flowed(0.0, tokens=20.0), rtol=1e-6)


@pytest.mark.parametrize("state", [STATE.astype(np.float64), STATE[None], np.array([2, 10])], ids=repr)
def test_a_state_of_another_type_or_with_a_batch_of_one(bench: Bench, state: Array) -> None:
    bench.observe(state=state, noise=np.zeros((3, 5), np.float32))
    told = (state.ravel()[0] - 1.0) / 0.5 + 2.0
    np.testing.assert_allclose(bench.infer().tensors["actions"], flowed(0.0, state=told), rtol=1e-6)


def test_a_state_in_words_is_that_of_the_file(bench: Bench) -> None:
    prompt = PromptSpec("{state};{instruction}", 9, None, 0)
    ends = Normalisation("min_max", (-1e3, 0.0), (-2.0, 10.0))  # 1.5 is beyond, 10 is the end
    bench.serve(Parts(flow_graphs(9)), flow_bundle(bench.folder / "words", prompt=prompt, state_normalisation=ends))
    found = bench.infer(instruction="a", intermediates=True).tensors
    wanted = "".join(tiny_tokenizer.WORDS[token] for token in found["tokens"][0])
    assert wanted == "255▁255;a"
    bench.observe(state=np.array([-1e3, -1e3]))
    found = bench.infer(instruction="a", intermediates=True).tensors
    assert [tiny_tokenizer.WORDS[token] for token in found["tokens"][found["token_mask"]]] == list("0▁-1;a")
    assert "has 10 tokens, this policy takes 9" in bench.refused(InstructionError, instruction="ab")


def test_a_policy_that_reads_no_state_needs_none(bench: Bench) -> None:
    blind = {"state": VectorSpec((), (), 0), "state_normalisation": Normalisation("none")}
    bundle = regression_bundle(bench.folder / "blind", action_normalisation=Normalisation("none"), **blind)
    bench.serve(Parts(regression_graphs(), {"model": {"state": None}}), bundle)
    wanted = [[3.0, 0.0], [4.0, 0.0], [5.0, 0.0]]
    bench.observe(without=("state",))
    assert bench.infer().tensors["actions"].tolist() == wanted
    bench.observe()  # a state that is there all the same is not looked at
    assert bench.infer().tensors["actions"].tolist() == wanted


# ── noise ───────────────────────────────────────────────────────────────────────────────────────────────────────────

NOISE = np.arange(15, dtype=np.float32).reshape(3, 5)


@pytest.mark.parametrize("shape", [(3, 5), (1, 3, 5)])
@pytest.mark.parametrize("names", [("noise",), ("x",), ("noise", "x")])
def test_noise_of_a_file_of_its_own(bench: Bench, shape: tuple[int, ...], names: tuple[str, ...]) -> None:
    path = bench.folder / "noise.safetensors"
    save_file({name: NOISE.reshape(shape) if name == names[0] else np.zeros(1) for name in names}, path)
    wanted = flowed(NOISE)
    np.testing.assert_allclose(bench.infer(noise=path).tensors["actions"], wanted, rtol=1e-6)
    bench.observe(noise=np.zeros((3, 5), np.float32))  # it goes before the observation's
    np.testing.assert_allclose(bench.infer(noise=path).tensors["actions"], wanted, rtol=1e-6)


def test_noise_of_the_observation_goes_before_a_seed(bench: Bench) -> None:
    bench.observe(noise=NOISE.astype(np.float64)[None])
    np.testing.assert_allclose(bench.infer(seed=5).tensors["actions"], flowed(NOISE), rtol=1e-6)


def test_noise_of_a_seed(bench: Bench) -> None:
    first, same, other = (bench.infer(seed=seed).tensors["actions"] for seed in (5, 5, 6))
    assert first.tolist() == same.tolist() != other.tolist()
    noise = np.random.default_rng(5).standard_normal((1, 3, 5), dtype=np.float32)[0]
    np.testing.assert_allclose(first, flowed(noise), rtol=1e-5)


def test_steps_are_as_many_as_asked(bench: Bench) -> None:
    bench.observe(noise=np.zeros((3, 5), np.float32))
    wanted = -(3 + 11 + 30) - (1.0 + 0.5) / 2
    np.testing.assert_allclose(bench.infer(flow_steps=2).tensors["actions_normalized"], wanted, rtol=1e-6)
    assert "this bundle takes 1 to 4" in bench.refused(BundleError, flow_steps=5)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"noise": np.zeros((3, 2), np.float32)}, "noise has shape [3, 2], expected [3, 5] finite numbers"),
        ({"noise": np.zeros((2, 3, 5), np.float32)}, "noise has shape [2, 3, 5], expected [3, 5]"),
        ({"noise": np.full((3, 5), np.nan, np.float32)}, "noise has shape [3, 5], expected [3, 5] finite numbers"),
    ],
)
def test_noise_that_does_not_fit(bench: Bench, tensors: dict[str, Array], says: str) -> None:
    bench.observe(**tensors)
    assert bench.refused().startswith(says)


@pytest.mark.parametrize(("names", "says"), [(("a", "b"), "has a, b; expected one"), ((), "has ; expected one tensor")])
def test_a_file_of_noise_with_many_names_or_none(bench: Bench, names: tuple[str, ...], says: str) -> None:
    path = bench.folder / "noise.safetensors"
    save_file(dict.fromkeys(names, NOISE), path)
    assert bench.refused(noise=path).startswith(f"{path}: {says}")


# ── what was computed on the way ────────────────────────────────────────────────────────────────────────────────────


def test_intermediates_of_a_flow(bench: Bench) -> None:
    bench.observe(noise=NOISE)
    plain, found = bench.infer().tensors, bench.infer(intermediates=True).tensors
    assert set(found) == {
        *("actions", "actions_normalized", "pixels", "keys", "values", "prefix_mask"),
        *("velocity", "velocities", "tokens", "token_mask"),
    }
    assert found["actions"].tolist() == plain["actions"].tolist()
    assert found["pixels"].tolist() == [[1.0, 2.0]]
    assert (found["keys"].tolist(), found["values"].tolist()) == ([3.0], [11.0])
    assert found["tokens"].tolist() == [[5, 6, 0, 0, 0, 0, 0, 0]]
    assert found["token_mask"].tolist() == [[True, True, *[False] * 6]]
    assert found["velocities"].shape == (4, 1, 3, 5)
    assert found["velocities"][:, 0, 0, 0].tolist() == [45.0, 44.75, 44.5, 44.25]  # each its own, not the last of all
    assert found["velocity"].tolist() == found["velocities"][0].tolist()


def test_intermediates_of_a_regression(bench: Bench) -> None:
    """The model graph's output is named `actions`, and is the normalised chunk; the robot's actions keep the name."""
    bench.serve(Parts(regression_graphs()), regression_bundle(bench.folder / "r"))
    found = bench.infer(intermediates=True).tensors
    assert set(found) == {"actions", "actions_normalized", "pixels", "tokens", "token_mask"}
    assert found["actions_normalized"].tolist() == [[3.0, 3.0], [4.0, 3.0], [5.0, 3.0]]
    np.testing.assert_allclose(found["actions"], found["actions_normalized"] * DEVIATION + MEAN)


SAID = [104, 102, 100, 104, 101, 103]


def say(bench: Bench, said: list[int]) -> None:
    """From now on it is a token policy that says this, and the observation is of its one camera."""
    bundle = token_bundle.bins(bench.folder / "tokens")
    bench.serve(Parts(token_graphs(range(100, 105), said)), bundle)
    bench.observe(without=("image.wrist",), image_base=np.zeros((2, 2, 3), np.uint8))


def test_intermediates_of_tokens(bench: Bench) -> None:
    say(bench, SAID)
    found = bench.infer(intermediates=True).tensors
    assert found["token_ids"].tolist() == SAID
    assert found["logits"].shape == (6, 5)
    assert (found["logits"].argmax(axis=1) + 100).tolist() == SAID
    assert {"keys", "values", "prefix_mask", "pixels", "tokens", "token_mask"} <= set(found)
    assert "velocity" not in found
    assert found["actions_normalized"].tolist() == [[1, 0], [-1, 1], [-0.5, 0.5]]


def test_malformed_tokens_are_an_error_unless_padded(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    fast = token_bundle.fast(bench.folder / "fast", max_new=6)
    words = [token_bundle.ID["9"]] * 6
    say(bench, SAID)  # for its observation
    bench.serve(Parts(token_graphs(range(token_bundle.TOP + 1), words)), fast)
    assert bench.refused(MalformedTokens).startswith("begins with the tokens")
    assert (bench.infer(on_malformed="pad").tensors["actions_normalized"] == 0).all()
    assert bench.edge() == 2
    assert capsys.readouterr().err.startswith("edge: begins with the tokens")
    assert not bench.out.exists()
    assert bench.edge("--on-malformed", "pad") == 0


# ── what does not fit ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("without", "changed", "says"),
    [
        (
            (),
            {"image_bse": IMAGES["image.base"]},
            'image.bse: the policy takes no such tensor, did you mean "image.bas',
        ),
        ((), {"states": STATE}, 'states: the policy takes no such tensor, did you mean "state"?'),
        ((), {"token_masks": MASK}, 'token_masks: the policy takes no such tensor, did you mean "token_mask"?'),
        (
            (),
            {"zzz": STATE},
            "zzz: the policy takes no such tensor; known: image.base, image.wrist, noise, state, token_mask, tokens",
        ),
        (
            (),
            {"image_base": np.zeros((6, 4, 3), np.uint8)},
            "image.base is uint8 [6, 4, 3], the bundle takes uint8 [4, 6, 3]; send frames of that size, or export with "
            "--camera base=HEIGHTxWIDTH",
        ),
        ((), {"image_base": np.zeros((3, 4, 6), np.uint8)}, "image.base is uint8 [3, 4, 6], the bundle takes uint8 [4"),
        ((), {"image_base": np.zeros((1, 4, 6, 3), np.uint8)}, "image.base is uint8 [1, 4, 6, 3], the bundle takes"),
        (
            (),
            {"image_base": np.zeros((4, 6, 3), np.float32)},
            "image.base is float32 [4, 6, 3], the bundle takes uint8",
        ),
        (("image.base", "image.wrist"), {}, "has no frame; expected image.base, image.wrist"),
        (("state",), {}, "has no state; expected 2 numbers: a, b"),
        ((), {"state": np.zeros(3, np.float32)}, "state has 3 numbers, expected 2 finite ones"),
        ((), {"state": np.array([1.0, np.nan], np.float32)}, "state has 2 numbers, expected 2 finite ones"),
        ((), {"state": np.zeros((2, 1), np.float32)}, "state has shape [2, 1], expected [n]"),
        (("tokens",), {}, "has no tokens; add tokens and token_mask, or say --instruction TEXT"),
        ((), {"tokens": TOKENS.astype(np.float32)}, "tokens are float32, expected integers"),
        ((), {"tokens": TOKENS.reshape(2, 2)}, "tokens has shape [2, 2], expected [n]"),
        ((), {"token_mask": MASK.reshape(2, 2)}, "token_mask has shape [2, 2], expected [n]"),
        ((), {"token_mask": MASK[:3]}, "tokens are [4] and their mask [3], expected [n]"),
        (
            (),
            {"tokens": np.arange(9), "token_mask": np.ones(9, bool)},
            "the instruction has 9 tokens, this policy takes 8",
        ),
    ],
)
def test_an_observation_that_does_not_fit(
    bench: Bench, without: tuple[str, ...], changed: dict[str, Array], says: str
) -> None:
    bench.observe(without, **changed)
    error = InstructionError if "this policy takes 8" in says or "their mask" in says else ObservationError
    assert bench.refused(error).startswith(says)


def test_an_instruction_that_is_too_long(bench: Bench) -> None:
    assert "this policy takes 8: shorten it" in bench.refused(InstructionError, instruction="put the red cup down")


def test_files_that_are_no_observation(bench: Bench) -> None:
    bench.file.write_bytes(b"hello")
    assert bench.refused().startswith("not a safetensors file (")
    bench.file.unlink()
    assert bench.refused() == "no such file; an observation is a safetensors file"
    bench.file.mkdir()
    assert bench.refused() == "no such file; an observation is a safetensors file"
    bench.file.rmdir()
    bench.observe()
    missing = bench.folder / "noise.safetensors"
    assert bench.refused(noise=missing).startswith(f"{missing}: no such file")


@pytest.mark.parametrize(("kind", "size"), [("BF16", 4), ("F8_E4M3", 2)])
def test_a_type_that_numpy_lacks(tmp_path: Path, kind: str, size: int) -> None:
    """As torch saves what a bf16 model was given. In another process: onnx, once loaded, teaches numpy bfloat16."""
    header = json.dumps({"state": {"dtype": kind, "shape": [2], "data_offsets": [0, size]}}).encode()
    (tmp_path / "o").write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    command = [sys.executable, "-m", "edge_runtime", "infer", "b", "--observation", str(tmp_path / "o"), "-o", "a"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"edge: {tmp_path / 'o'}: has a tensor of a type that numpy lacks (")
    assert done.stderr.endswith("): use float32\n")


# ── the command ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_command_writes_a_file_and_says_what_is_in_it(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.observe(noise=NOISE)
    assert bench.edge() == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == "3 actions at 20 Hz, absolute, rad"
    assert lines[1].split() == ["a", "b"]
    np.testing.assert_allclose([[float(x) for x in line.split()] for line in lines[2:5]], flowed(NOISE), atol=1e-4)
    assert lines[5].startswith(f"{bench.out}: actions, actions_normalized; one inference took ")
    stored = load_file(bench.out)
    assert set(stored) == {"actions", "actions_normalized"}
    np.testing.assert_allclose(stored["actions"], flowed(NOISE), rtol=1e-6)
    assert [path.name for path in bench.out.parent.iterdir()] == [bench.out.name]


def test_many_actions_are_shown_in_part(bench: Bench) -> None:
    found = bench.infer()
    found.tensors["actions"] = np.zeros((11, 2), np.float32)
    lines = text(found, bench.out).splitlines()
    assert len(lines) == 2 + 8 + 2
    assert lines[-2] == "  … 3 more"


def test_the_result_for_programs(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.observe(noise=NOISE)
    assert bench.edge("--json", "--intermediates") == 0
    said = json.loads(capsys.readouterr().out)
    stored = load_file(bench.out)
    assert said["actions"] == stored["actions"].tolist()
    assert said["tensors"] == {name: list(tensor.shape) for name, tensor in stored.items()}
    assert said["tensors"]["velocities"] == [4, 1, 3, 5]
    assert (said["file"], said["names"], said["units"]) == (str(bench.out), ["a", "b"], ["rad", "rad"])
    assert (said["control_mode"], said["dt_s"]) == ("absolute", 0.05)
    assert said["inference_ms"] > 0


def test_both_files(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.observe(noise=NOISE)
    facts = bench.folder / "more" / "facts.json"
    assert bench.edge("--json", str(facts)) == 0
    assert "3 actions at 20 Hz" in capsys.readouterr().out
    assert json.loads(facts.read_text())["actions"] == load_file(bench.out)["actions"].tolist()


def test_every_option_reaches_the_policy(bench: Bench) -> None:
    noise = bench.folder / "noise.safetensors"
    save_file({"noise": np.zeros((3, 5), np.float32)}, noise)
    assert bench.edge("--instruction", "up", "--noise", str(noise), "--steps", "1", "--threads", "2") == 0
    said = 2 + tiny_tokenizer.IDS["up"] + tiny_tokenizer.IDS["\n"]
    np.testing.assert_allclose(load_file(bench.out)["actions_normalized"], -(3 + said + 30 + 1.0), rtol=1e-6)
    assert bench.edge("--seed", "3") == 0
    first = load_file(bench.out)["actions"].tolist()
    assert bench.edge("--seed", "4") == 0
    assert load_file(bench.out)["actions"].tolist() != first


@pytest.mark.parametrize("changed", [{"state": np.zeros(3, np.float32)}, {"noise": np.zeros(1, np.float32)}])
def test_a_misfit_is_one_line_and_the_file_that_was_there_stays(
    bench: Bench, capsys: pytest.CaptureFixture[str], changed: dict[str, Array]
) -> None:
    bench.observe(**changed)
    assert bench.edge("--json", str(bench.folder / "facts.json")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"edge: {bench.file}: ")
    assert err.count("\n") == 1
    assert not bench.out.parent.exists()
    assert not (bench.folder / "facts.json").exists()
    bench.out.parent.mkdir()
    bench.out.write_bytes(b"before")
    assert bench.edge() == 2
    assert bench.out.read_bytes() == b"before"


def test_a_bundle_that_is_none_is_one_line(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    (bench.bundle.path / "step.onnx").write_bytes(b"changed")
    assert bench.edge() == 2
    assert "step.onnx: " in capsys.readouterr().err
    assert not bench.out.exists()


def test_a_place_that_cannot_be_written(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.out.mkdir(parents=True)
    assert bench.edge() == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert str(bench.out) in err
    assert list(bench.out.parent.iterdir()) == [bench.out]  # nothing half-written beside it


# ── with real graphs ────────────────────────────────────────────────────────────────────────────────────────────────


def test_real_graphs_from_a_file_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The regression policy's arithmetic, in ONNX, with the backend that the command takes by itself."""
    pytest.importorskip("onnx", reason="onnx is not installed")
    from tests.edge_runtime.backends.contract import BOOL, FLOAT, INT64, UINT8, node, write

    bundle = regression_bundle(tmp_path)
    write(
        bundle.graph("image"),
        [
            *(node("Cast", f"image.{name}", out=f"{name}.f", to=FLOAT) for name in ("base", "wrist")),
            *(node("ReduceMean", f"{name}.f", out=f"{name}.mean", keepdims=0) for name in ("base", "wrist")),
            node("Sum", "base.mean", "wrist.mean", out="pixels"),
        ],
        {"image.base": (UINT8, [4, 6, 3]), "image.wrist": (UINT8, [3, 3, 3])},
        {"pixels": (FLOAT, [])},
    )
    text = {"camera_mask": (BOOL, [1, 2]), "tokens": (INT64, [1, 8]), "token_mask": (BOOL, [1, 8])}
    whole = node("Expand", "total", "shape", out="actions")
    shape = node("Constant", out="shape", value_ints=[1, 3, 2])
    total = [node("ReduceSum", "state", out="sum", keepdims=0), node("Add", "sum", "pixels", out="total")]
    write(
        bundle.graph("model"),
        [shape, *total, whole],
        {"pixels": (FLOAT, []), **text, "state": (FLOAT, [1, 4])},
        {"actions": (FLOAT, [1, 3, 2])},
    )
    seal(bundle.path, bundle.manifest)
    save_file(TOLD, tmp_path / "o.safetensors")
    argv = ["infer", str(bundle.path), "--observation", str(tmp_path / "o.safetensors"), "-o", str(tmp_path / "a")]
    assert cli.main(argv) == 0, capsys.readouterr().err
    stored = load_file(tmp_path / "a")
    assert stored["actions_normalized"].tolist() == [[6.0, 6.0]] * 3
    np.testing.assert_allclose(stored["actions"], [[11.0, 4.5]] * 3)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", '--backend: there is no ""; known: ort, ort-cuda, trt, trt-rtx'),
        ("ort-coda", '--backend: there is no "ort-coda", did you mean "ort-cuda"?'),
        (
            "torch",
            '--backend: "torch" is no robot\'s backend, only edge verify takes it; there are ort, ort-cuda, trt, '
            "trt-rtx",
        ),
    ],
)
def test_a_backend_that_there_is_not(bench: Bench, capsys: Any, name: str, words: str) -> None:
    assert bench.edge("--backend", name) == 2
    assert capsys.readouterr().err == f"edge: {words}\n"
    assert not bench.out.exists()


@pytest.mark.parametrize("name", ["ort-cuda", "ort_cuda"])
def test_the_backend_that_is_named_infers(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    asked: list[str] = []
    engine, _ = Parts(flow_graphs()), bench.observe(noise=np.zeros((3, 5), np.float32))
    load = SimpleNamespace(Engine=lambda threads: engine)
    monkeypatch.setattr("edge_runtime.policy.plugins.load", lambda _, asked_for: asked.append(asked_for) or load)
    assert bench.edge("--backend", name) == 0
    assert asked == [name]
    assert bench.out.exists()


def test_what_only_a_flow_understands_is_refused_elsewhere(bench: Bench) -> None:
    bench.serve(Parts(regression_graphs()), regression_bundle(bench.folder / "other"))
    noise = bench.folder / "noise.safetensors"
    save_file({"noise": np.zeros((3, 5), np.float32)}, noise)
    for asked in ({"flow_steps": 2}, {"noise": noise}):
        with pytest.raises(ObservationError, match=r"takes no flow steps; leave --noise and --steps out$"):
            bench.infer(**asked)


def test_actions_that_are_not_finite_are_no_result(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    graphs = regression_graphs()
    bench.serve(Parts(graphs), regression_bundle(bench.folder / "wild"))
    graphs["model"]._compute = lambda given, out: out["actions"].fill(np.nan)
    assert bench.edge() == 2
    assert "made actions that are not finite" in capsys.readouterr().err
    assert not bench.out.exists()
