"""Chunks that go on from the running one, over graphs of pure arithmetic: committed rows, and guidance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edge_runtime.bundle import Bundle, open_bundle, seal
from edge_runtime.bundle_spec import GUIDE
from edge_runtime.errors import BackendError, BundleError
from edge_runtime.policies.base import Ahead, Observation, Prompt
from edge_runtime.policies.flow import Runner
from edge_runtime.policies.guidance import soft_mask, strengths
from edge_runtime.policies.runners import runner
from tests.edge_runtime.memory import growth
from tests.edge_runtime.policies.arithmetic import (
    Array,
    Parts,
    flow_graphs,
    regression_bundle,
    regression_graphs,
)
from tests.edge_runtime.policies.arithmetic import going_on_bundle as bundle
from tests.edge_runtime.policies.arithmetic import going_on_graphs as graphs

ROWS, DIMS, PADDED, STEPS = 3, 2, 5, 4
ACTIONS = np.array([[0.3, 0.7], [1.1, -0.2], [9.0, 9.0]], np.float32)


def loaded(made: Bundle, **how: Any) -> Runner:
    committed = made.spec.head.committed  # type: ignore[union-attr]
    return Runner(made, Parts(graphs(committed > 0)), **how)


def observation(ahead: Ahead | None = None, state: tuple[float, float] = (1.5, 10.0)) -> Observation:
    shown = {"base": np.full((4, 6, 3), 1, np.uint8), "wrist": np.full((3, 3, 3), 2, np.uint8)}
    tokens = np.array([5, 6, 0, 0, 0, 0, 0, 9], np.int64)
    return Observation(shown, np.array(state, np.float32), Prompt("", tokens, tokens != 9), ahead)


def infer(policy: Runner, seen: Observation, noise: float = 3.0) -> Array:
    chunk = np.full((ROWS, DIMS), np.nan, np.float32)
    policy.infer(seen, chunk, np.full((ROWS, PADDED), noise, np.float32))
    return chunk


def test_committed_rows_come_out_as_they_came_and_the_others_as_ever(tmp_path: Path) -> None:
    policy = loaded(bundle(tmp_path, committed=2), seam="committed")
    plain = infer(policy, observation())
    for committed in (0, 1, 2):
        chunk = infer(policy, observation(Ahead(ACTIONS, committed, ROWS)))
        assert chunk[:committed].tobytes() == ACTIONS[:committed].tobytes()
        np.testing.assert_array_equal(chunk[committed:], plain[committed:])
    np.testing.assert_array_equal(infer(policy, observation()), plain)
    assert policy.beyond == 0


def test_the_model_is_given_the_rows_as_it_was_trained(tmp_path: Path) -> None:
    """Normalised, relative to the state of now where it is so, and 0 in what the robot lacks, at every step."""
    policy = loaded(bundle(tmp_path, committed=2, relative=(True, False)), seam="committed")
    step, seen = policy.graphs["step"], list[Array]()
    policy.watch = lambda name, _: seen.append(step.inputs["x_t"][0].copy()) if name == "step" else None
    infer(policy, observation(Ahead(ACTIONS, 1, ROWS)))
    wanted = [(0.3 - 1.5 + 1.0) / 2.0, (0.7 - 3.0) / 0.25, 0.0, 0.0, 0.0]
    assert len(seen) == STEPS
    for x in seen:
        np.testing.assert_allclose(x[0], wanted, rtol=1e-6)
    assert (seen[-1][1:] != 3.0).all()
    assert (step.inputs["clean"] == 7.0).all()
    infer(policy, observation(None))
    assert not step.inputs["committed"].any(), "a chunk that begins afresh has none"


def test_of_more_rows_than_it_was_trained_with_the_first_are_given_and_that_is_counted(tmp_path: Path) -> None:
    policy = loaded(bundle(tmp_path, committed=1), seam="committed")
    plain = infer(policy, observation())
    chunk = infer(policy, observation(Ahead(ACTIONS, 2, ROWS)))
    np.testing.assert_array_equal(chunk[0], ACTIONS[0])
    np.testing.assert_array_equal(chunk[1:], plain[1:])
    infer(policy, observation(Ahead(ACTIONS, 1, ROWS)))
    assert policy.beyond == 1


def test_a_failed_inference_leaves_no_row_committed(tmp_path: Path) -> None:
    policy = loaded(bundle(tmp_path, committed=2), seam="committed")
    plain = infer(policy, observation())

    def fail(name: str, _: object) -> None:
        if name == "step":
            raise BackendError("step.onnx: failed while it ran")

    policy.watch = fail
    with pytest.raises(BackendError):
        infer(policy, observation(Ahead(ACTIONS, 2, ROWS)))
    policy.watch = None
    np.testing.assert_array_equal(infer(policy, observation()), plain)


def test_guidance_is_the_papers(tmp_path: Path) -> None:
    """Written out in its time τ, from noise at 0 to actions at 1, for a velocity that does not depend on x."""
    policy = loaded(bundle(tmp_path, guided=True), seam="guided")
    chunk = infer(policy, observation(Ahead(ACTIONS, 1, 2)))
    weight = np.zeros(ROWS, np.float32)
    soft_mask(1, 2, weight)
    target = (ACTIONS - [-1.0, 3.0]) / [2.0, 0.25]
    a = np.full((ROWS, DIMS), 3.0)
    for k, strength in enumerate(strengths(STEPS)):
        tau = k / STEPS
        v = -(3 + 11 + 30 + (1 - tau))
        foretold = a + (1 - tau) * v
        a = a + (v + strength * weight[:, None] * (target - foretold)) / STEPS
    np.testing.assert_allclose(policy.normalised, a, rtol=1e-4)
    np.testing.assert_allclose(chunk, a * [2.0, 0.25] + [-1.0, 3.0], rtol=1e-4)


def test_guided_rows_come_near_and_the_rest_is_left_alone(tmp_path: Path) -> None:
    policy = loaded(bundle(tmp_path, guided=True), seam="guided")
    plain = infer(policy, observation())
    garbage = np.where(np.arange(ROWS)[:, None] < 2, ACTIONS, np.nan).astype(np.float32)
    chunk = infer(policy, observation(Ahead(garbage, 1, 2)))
    off, before = np.abs(chunk - ACTIONS), np.abs(plain - ACTIONS)
    assert (off[0] < 0.1 * before[0]).all()
    assert (off[1] < before[1]).all()
    np.testing.assert_allclose(chunk[2], plain[2], rtol=1e-6)
    assert (policy.graphs[GUIDE].inputs["weight"][..., DIMS:] == 0.0).all(), "what the robot lacks is not pulled"


def test_a_chunk_that_begins_afresh_is_not_guided(tmp_path: Path) -> None:
    policy = loaded(bundle(tmp_path, guided=True), seam="guided")
    infer(policy, observation())
    assert [policy.graphs[name].runs for name in ("step", GUIDE)] == [4, 0]  # type: ignore[attr-defined]
    infer(policy, observation(Ahead(ACTIONS, 1, 2)))
    assert [policy.graphs[name].runs for name in ("step", GUIDE)] == [4, 4]  # type: ignore[attr-defined]


@pytest.mark.parametrize("seam", ["none", "blend", "ensemble"])
def test_other_seams_are_not_the_policys_business(tmp_path: Path, seam: Any) -> None:
    policy = loaded(bundle(tmp_path, committed=2, guided=True), seam=seam)
    np.testing.assert_array_equal(infer(policy, observation(Ahead(ACTIONS, 2, 3))), infer(policy, observation()))
    assert GUIDE not in policy.graphs


@pytest.mark.parametrize("seam", ["committed", "guided"])
def test_an_inference_leaves_nothing_behind(tmp_path: Path, seam: Any) -> None:
    policy = loaded(bundle(tmp_path, committed=2, guided=True), seam=seam)
    seen, chunk = observation(Ahead(ACTIONS, 1, 2)), np.empty((ROWS, DIMS), np.float32)
    assert growth(lambda: policy.infer(seen, chunk)) < 500


@pytest.mark.parametrize(
    ("seam", "has", "words"),
    [
        ("committed", {}, r'motion\.seam is "committed", and its checkpoint was not trained .* set it to "blend"'),
        ("guided", {"committed": 2}, r'motion\.seam is "guided", and it has no guide graph: export .* with --guided'),
    ],
)
def test_what_a_bundle_cannot_do_is_refused(tmp_path: Path, seam: Any, has: dict[str, Any], words: str) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        loaded(bundle(tmp_path, **has), seam=seam)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"seam": "guided"}, r'its head has no flow for motion\.seam = "guided"'),
        ({"prefix_every": 2}, r"its head has no prefix for policy\.prefix_every = 2"),
    ],
)
def test_heads_without_a_flow_do_neither(tmp_path: Path, how: dict[str, Any], words: str) -> None:
    made = regression_bundle(tmp_path)
    with pytest.raises(BundleError, match=words):
        runner(made, Parts(regression_graphs()), **how)
    assert runner(made, Parts(regression_graphs()), seam="ensemble")


def test_a_bundle_without_the_time_of_given_rows(tmp_path: Path) -> None:
    made = bundle(tmp_path, committed=2)
    path = made.path / made.manifest.constants
    save_file({name: t for name, t in load_file(path).items() if name != "cond.clean"}, path)
    seal(made.path, made.manifest)
    with pytest.raises(BundleError, match=r"cond\.clean is missing or no float32 \[1, 3\]"):
        loaded(open_bundle(made.path))


@pytest.mark.parametrize(
    ("component", "inputs", "words"),
    [
        ("step", {"committed": np.zeros((1, 3), np.float32)}, r"step\.onnx: input committed is "),
        ("step", {"clean": None}, r"step\.onnx: input clean is None"),
        (GUIDE, {"weight": np.zeros((1, 3, 2), np.float32)}, r"guide\.onnx: input weight is "),
        (GUIDE, {"left": np.zeros((), np.float32)}, r"guide\.onnx: input left is "),
    ],
)
def test_graphs_that_are_not_what_the_manifest_says(
    tmp_path: Path, component: str, inputs: dict[str, Array | None], words: str
) -> None:
    with pytest.raises(BundleError, match=words):
        Runner(bundle(tmp_path, committed=2, guided=True), Parts(graphs(), {component: inputs}), seam="guided")


def test_a_guide_graph_without_a_correction(tmp_path: Path) -> None:
    parts = graphs()
    parts[GUIDE].outputs = {"velocity": parts[GUIDE].outputs["velocity"]}
    with pytest.raises(BundleError, match=r"guide\.onnx: output correction is missing"):
        Runner(bundle(tmp_path, committed=2, guided=True), Parts(parts), seam="guided")


# ── one prefix for several chunks ───────────────────────────────────────────────────────────────────────────────────


def prefixes(policy: Runner) -> int:
    runs = [policy.graphs[name].runs for name in ("image", "prefix")]  # type: ignore[attr-defined]
    assert runs[0] == runs[1]
    return int(runs[0])


def test_a_prefix_serves_as_many_inferences_as_asked(tmp_path: Path) -> None:
    policy = loaded(bundle(tmp_path), prefix_every=3)
    seen = observation()
    found = []
    for _ in range(7):
        infer(policy, seen)
        found.append((prefixes(policy), policy.frames_fresh))
    assert found == [(1, True), (1, False), (1, False), (2, True), (2, False), (2, False), (3, True)]


def test_between_prefixes_the_state_is_new_and_the_frames_are_not(tmp_path: Path) -> None:
    policy, fresh = loaded(bundle(tmp_path), prefix_every=2), loaded(bundle(tmp_path / "fresh"))
    seen = observation()
    infer(policy, seen)
    later = replace(seen, state=np.array([2.0, 6.0], np.float32))
    frames = {name: frame + np.uint8(9) for name, frame in seen.frames.items()}
    np.testing.assert_array_equal(infer(policy, replace(later, frames=frames)), infer(fresh, later))
    np.testing.assert_array_equal(
        infer(policy, replace(later, frames=frames)), infer(fresh, replace(later, frames=frames))
    )


def test_actions_relative_to_the_state_are_relative_to_the_new_one(tmp_path: Path) -> None:
    policy = loaded(bundle(tmp_path, relative=(True, True)), prefix_every=2)
    seen = observation(state=(0.0, 2.0))
    first = infer(policy, seen)
    second = infer(policy, replace(seen, state=np.array([0.5, 2.0], np.float32)))
    moved = -10.0 * 0.5 / 0.5 * np.array([2.0, 0.25]) + [0.5, 0.0]
    np.testing.assert_allclose(second - first, np.tile(moved, (ROWS, 1)), rtol=1e-4, atol=1e-4)


def test_a_new_prompt_or_a_wish_makes_a_new_prefix(tmp_path: Path) -> None:
    policy = loaded(bundle(tmp_path), prefix_every=100)
    one, other = observation(), observation()
    for seen, wanted in ((one, 1), (one, 1), (other, 2), (other, 2), (one, 3)):
        infer(policy, seen)
        assert prefixes(policy) == wanted
    policy.renew()
    infer(policy, one)
    assert (prefixes(policy), policy.frames_fresh) == (4, True)


def test_a_prefix_that_failed_serves_nothing(tmp_path: Path) -> None:
    policy, one, other = loaded(bundle(tmp_path), prefix_every=100), observation(), observation()
    infer(policy, one)

    def fail(name: str, _: object) -> None:
        if name == "prefix":
            raise BackendError("prefix.onnx: failed while it ran")

    policy.watch = fail
    with pytest.raises(BackendError):
        infer(policy, other)
    policy.watch = None
    infer(policy, one)
    assert (prefixes(policy), policy.frames_fresh) == (3, True), "what was there is of another prompt now"


def test_a_flow_that_takes_no_state_shares_no_prefix(tmp_path: Path) -> None:
    parts = flow_graphs()
    del parts["step"].inputs["state"]  # type: ignore[attr-defined]
    with pytest.raises(BundleError, match=r"its flow steps take no state, .* set policy\.prefix_every to 1, not 2"):
        Runner(bundle(tmp_path), Parts(parts), prefix_every=2)
