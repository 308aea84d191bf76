"""What every policy makes of an observation, whatever its head: frames, state and prompt in, the robot's units out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import CameraSpec, Normalisation, PromptSpec, VectorSpec
from edge_runtime.errors import BundleError, InstructionError, ObservationError
from edge_runtime.policies import flow
from edge_runtime.policies.base import Observation
from edge_runtime.policies.graph_policy import GraphPolicy, constants
from edge_runtime.policies.regression import Runner
from tests.edge_runtime import tiny_tokenizer
from tests.edge_runtime.memory import growth
from tests.edge_runtime.policies.arithmetic import (
    SPEC,
    Array,
    Parts,
    flow_bundle,
    flow_graphs,
    regression_bundle,
    regression_graphs,
)

NONE = Normalisation("none")
FRAMES = {"base": np.full((4, 6, 3), 1, np.uint8), "wrist": np.full((3, 3, 3), 2, np.uint8)}
Change = dict[str, dict[str, Array | None]]


def loaded(folder: Path, change: Change | None = None, **spec: Any) -> Runner:
    """A regression policy, the plainest head there is, without normalisation unless `spec` has one."""
    plain = {"state_normalisation": NONE, "action_normalisation": NONE} | spec
    tokens = plain["prompt"].max_tokens if "prompt" in plain else 8
    if not any(c.missing == "mask" for c in plain.get("cameras", SPEC.cameras)):
        change = {"model": {"camera_mask": None}} | (change or {})
    return Runner(regression_bundle(folder, **plain), Parts(regression_graphs(tokens), change))


def infer(subject: GraphPolicy, state: tuple[float, ...] = (1.5, 10.0), **frames: Array) -> Array:
    chunk = np.full((3, 2), np.nan, np.float32)
    subject.infer(Observation(frames, np.array(state, np.float32), subject.prompt("up")), chunk)
    return chunk


# ── cameras ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def cameras(base: str, wrist: str) -> tuple[CameraSpec, CameraSpec]:
    return CameraSpec("base", 4, 6, base), CameraSpec("wrist", 3, 3, wrist)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("base", "wrist", "masked"),
    [("mask", "mask", [True, False]), ("mask", "black", [True, True]), ("refuse", "mask", [True, False])],
)
def test_a_missing_camera_is_masked_or_black(tmp_path: Path, base: str, wrist: str, masked: list[bool]) -> None:
    subject = loaded(tmp_path, cameras=cameras(base, wrist))
    inputs = subject.graphs["model"].inputs
    infer(subject, **FRAMES)
    assert inputs["camera_mask"].tolist() == [[True, True]]
    assert infer(subject, base=FRAMES["base"])[0, 0] == 1.0  # nothing is left of the frame before
    assert inputs["camera_mask"].tolist() == [masked]
    assert not subject.frames["wrist"].any()
    assert infer(subject, **FRAMES)[0, 0] == 3.0
    assert inputs["camera_mask"].tolist() == [[True, True]]


def test_where_none_can_be_masked_the_graph_has_no_mask(tmp_path: Path) -> None:
    subject = loaded(tmp_path, cameras=cameras("refuse", "black"))
    assert "camera_mask" not in subject.graphs["model"].inputs
    assert infer(subject, base=FRAMES["base"])[:, 0].tolist() == [1.0, 2.0, 3.0]


def test_a_camera_that_a_policy_cannot_do_without(tmp_path: Path) -> None:
    subject = loaded(tmp_path, cameras=cameras("mask", "refuse"))
    ran: list[str] = []
    subject.watch = lambda name, graph: ran.append(name)
    with pytest.raises(ObservationError, match=r"^camera wrist: there is no frame, and this policy cannot do without"):
        infer(subject, base=FRAMES["base"])
    assert ran == []
    infer(subject, wrist=FRAMES["wrist"])
    assert ran == ["image", "model"]


def test_a_frame_that_is_the_models_own_buffer_is_left_where_it_is(tmp_path: Path) -> None:
    subject = loaded(tmp_path, cameras=cameras("mask", "black"))
    assert set(subject.frames) == {"base", "wrist"}
    subject.frames["base"][:] = 9
    assert infer(subject, base=subject.frames["base"])[0, 0] == 9.0
    assert infer(subject, base=FRAMES["base"])[0, 0] == 1.0


# ── state ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_state_is_normalised_and_padded(tmp_path: Path) -> None:
    subject = loaded(tmp_path, state_normalisation=Normalisation("quantiles", (1.0, 0.0), (2.0, 5.0), clip=2.0))
    subject.graphs["model"].inputs["state"][:] = 0.0
    assert infer(subject, (1.5, 10.0), **FRAMES)[0, 1] == 0.0 + 2.0  # clipped from 3
    assert subject.graphs["model"].inputs["state"].tolist() == [[0.0, 2.0, 0.0, 0.0]]


@pytest.mark.parametrize("reader", ["prefix", "step"])
def test_whichever_graph_takes_the_state_gets_it(tmp_path: Path, reader: str) -> None:
    """SmolVLA's state is a token of the prefix, pi0's one of the suffix."""
    change: Change = {"step": {"state": None}}
    change[reader] = {"state": np.zeros((1, 4), np.float32)}
    subject = flow.Runner(flow_bundle(tmp_path, state_normalisation=NONE), Parts(flow_graphs(), change))
    infer(subject, (1.5, 10.0), **FRAMES)
    assert subject.graphs[reader].inputs["state"].tolist() == [[1.5, 10.0, 0.0, 0.0]]


def test_a_policy_may_read_no_state(tmp_path: Path) -> None:
    subject = loaded(tmp_path, {"model": {"state": None}}, state=VectorSpec((), (), 0))
    assert infer(subject, (), **FRAMES).tolist() == [[3.0, 0.0], [4.0, 0.0], [5.0, 0.0]]


# ── actions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("relative", "added"),
    [((), (0.0, 0.0)), ((False, False), (0.0, 0.0)), ((True, False), (1.5, 0.0)), ((True, True), (1.5, 10.0))],
)
def test_relative_actions_are_led_by_the_state_in_the_robots_units(
    tmp_path: Path, relative: tuple[bool, ...], added: tuple[float, float]
) -> None:
    subject = loaded(
        tmp_path,
        relative=relative,
        state_normalisation=Normalisation("mean_std", (1.0, 2.0), (0.5, 4.0)),
        action_normalisation=Normalisation("mean_std", (-1.0, 3.0), (2.0, 0.25)),
    )
    for _ in range(2):  # and nothing adds up from one to the next
        chunk = infer(subject, (1.5, 10.0), **FRAMES)
        assert subject.normalised.tolist() == [[3.0, 3.0], [4.0, 3.0], [5.0, 3.0]]  # 3 = (1.5-1)/0.5 + (10-2)/4
        np.testing.assert_allclose(chunk, subject.normalised * [2.0, 0.25] + [-1.0, 3.0] + added, rtol=1e-6)


def test_relative_actions_are_of_the_first_dimensions_of_a_longer_state(tmp_path: Path) -> None:
    subject = loaded(tmp_path, relative=(False, True), state=VectorSpec(("a", "b", "c"), ("rad",) * 3, 4))
    chunk = infer(subject, (1.0, 10.0, 100.0), **FRAMES)
    assert chunk.tolist() == [[3.0, 121.0], [4.0, 121.0], [5.0, 121.0]]


# ── prompt ──────────────────────────────────────────────────────────────────────────────────────────────────────────

IN_WORDS = PromptSpec("{instruction};{state}\n", 20, 2, 0)


def read(subject: GraphPolicy) -> str:
    """What the graph was given to read, without padding."""
    inputs = subject.graphs[subject.first].inputs
    counts = inputs["token_mask"][0]
    assert counts.tolist() == sorted(counts.tolist(), reverse=True)
    assert (inputs["tokens"][0][~counts] == 0).all()
    return "".join(tiny_tokenizer.WORDS[token] for token in inputs["tokens"][0][counts])


def test_a_state_in_words_is_that_of_the_observation(tmp_path: Path) -> None:
    """The prompt is of one instruction; each inference tells it with the state, normalised, that it is asked with."""
    normalisation = Normalisation("min_max", (0.0, 0.0), (1.0, 20.0))
    subject = loaded(tmp_path, prompt=IN_WORDS, state_normalisation=normalisation)
    infer(subject, (0.5, 10.0), **FRAMES)
    assert read(subject) == "<bos>up;128▁128\n"
    infer(subject, (0.0, 19.99), **FRAMES)
    assert read(subject) == "<bos>up;0▁255\n"
    infer(subject, (-7.0, 0.1), **FRAMES)
    assert read(subject) == "<bos>up;-1▁1\n"
    assert subject.graphs["model"].inputs["state"].tolist() == [[-15.0, pytest.approx(-0.99), 0.0, 0.0]]


def test_a_prompt_is_refused_where_the_longest_state_would_not_fit(tmp_path: Path) -> None:
    subject = loaded(tmp_path, prompt=IN_WORDS)
    subject.prompt("abcdefghij")
    with pytest.raises(InstructionError, match="has 21 tokens, this policy takes 20"):
        subject.prompt("abcdefghijk")


def test_tokens_of_somebody_else_are_read_as_they_are(tmp_path: Path) -> None:
    subject = loaded(tmp_path, prompt=IN_WORDS)
    ids = np.array([tiny_tokenizer.IDS[c] for c in "abc"])
    prompt = subject.prompt_from_tokens(ids, np.array([True, False, True]))
    subject.infer(Observation(FRAMES, np.zeros(2, np.float32), prompt), np.zeros((3, 2), np.float32))
    assert read(subject) == "ac"


# ── graphs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_run_of_a_graph_is_watched_until_nobody_watches(tmp_path: Path) -> None:
    subject, seen = loaded(tmp_path), list[tuple[str, list[float]]]()
    subject.watch = lambda name, graph: seen.append((name, next(iter(graph.outputs.values())).ravel()[:2].tolist()))
    infer(subject, **FRAMES)
    assert seen == [("image", [1.0, 2.0]), ("model", [3.0, 11.5])]
    subject.watch = None
    infer(subject, **FRAMES)
    assert len(seen) == 2


F = np.float32
BLACK = {"cameras": cameras("black", "black")}


@pytest.mark.parametrize(
    ("spec", "change", "words"),
    [
        ({}, {"image": {"image.base": np.zeros((4, 6, 4), np.uint8)}}, r"image\.onnx: input image\.base is .*4, 6, 4"),
        ({}, {"image": {"image.base": np.zeros((4, 6, 3), F)}}, r"image\.onnx: input image\.base is .*float32"),
        (
            {},
            {"image": {"image.top": np.zeros((1, 1, 3), np.uint8)}},
            r"input image\.top is .*, the manifest says None",
        ),
        ({}, {"image": {"image.wrist": None}}, r"image\.onnx: input image\.wrist is None, the manifest says .*3, 3, 3"),
        ({}, {"image": {"state": np.zeros((1, 4), F)}}, r"image\.onnx: input state is .*, the manifest says None"),
        ({}, {"model": {"tokens": np.zeros((1, 9), np.int64)}}, r"model\.onnx: input tokens is .*1, 9"),
        ({}, {"model": {"tokens": np.zeros((1, 8), np.int32)}}, r"model\.onnx: input tokens is .*int32"),
        ({}, {"model": {"tokens": None}}, r"model\.onnx: input tokens is None, the manifest says .*int64"),
        ({}, {"model": {"token_mask": np.zeros((1, 8), F)}}, r"model\.onnx: input token_mask is "),
        ({}, {"model": {"camera_mask": np.zeros((1, 3), np.bool_)}}, r"model\.onnx: input camera_mask is .*1, 3"),
        ({}, {"model": {"camera_mask": None}}, r"model\.onnx: input camera_mask is None, the manifest says .*1, 2"),
        (BLACK, {"model": {}}, r"model\.onnx: input camera_mask is .*, the manifest says None"),
        ({}, {"model": {"state": np.zeros((1, 2), F)}}, r"model\.onnx: input state is .*1, 2.*says .*1, 4"),
        ({}, {"model": {"x_t": np.zeros((1, 3, 5), F)}}, r"model\.onnx: input x_t is .*, the manifest says None"),
    ],
)
def test_graphs_that_are_not_what_the_manifest_says(
    tmp_path: Path, spec: dict[str, Any], change: Change, words: str
) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        loaded(tmp_path, change, **spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reader", ["prefix", "step"])
def test_a_state_of_the_wrong_width_is_found_in_whichever_graph(tmp_path: Path, reader: str) -> None:
    """Though the other graph reads it too, and as the manifest says."""
    change: Change = {name: {"state": np.zeros((1, 4), F)} for name in ("prefix", "step")}
    change[reader] = {"state": np.zeros((1, 5), F)}
    with pytest.raises(BundleError, match=rf"{reader}\.onnx: input state is .*1, 5.*says .*1, 4"):
        flow.Runner(flow_bundle(tmp_path), Parts(flow_graphs(), change))


def test_constants_that_cannot_be_read_name_the_file(tmp_path: Path) -> None:
    bundle = regression_bundle(tmp_path)
    assert list(constants(bundle)) == ["nothing"]
    manifest = msgspec.structs.replace(bundle.manifest, constants="tokenizer.json")
    with pytest.raises(BundleError, match=r"tokenizer\.json: cannot be read .*; export the bundle again"):
        constants(Bundle(bundle.path, manifest))
    (bundle.path / bundle.manifest.constants).unlink()
    with pytest.raises(BundleError, match=r"constants\.safetensors: cannot be read"):
        constants(bundle)


def test_an_inference_leaves_nothing_behind(tmp_path: Path) -> None:
    subject = loaded(tmp_path, relative=(True, False), cameras=cameras("mask", "black"))
    seen, chunk = Observation({"base": FRAMES["base"]}, np.ones(2, F), subject.prompt("up")), np.empty((3, 2), F)
    assert growth(lambda: subject.infer(seen, chunk)) < 500


def test_a_state_in_words_leaves_nothing_behind_either(tmp_path: Path) -> None:
    subject = loaded(tmp_path, prompt=IN_WORDS)
    seen, chunk = Observation(FRAMES, np.ones(2, F), subject.prompt("up")), np.empty((3, 2), F)
    assert growth(lambda: subject.infer(seen, chunk)) < 500
