"""The flow policy over graphs of pure arithmetic: what it writes into them, and what it makes of what they answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import Normalisation
from edge_runtime.errors import BundleError, InstructionError
from edge_runtime.policies.base import Observation, Prompt
from edge_runtime.policies.flow import Runner
from tests.edge_runtime.memory import growth
from tests.edge_runtime.policies.arithmetic import Array, Parts, flow_bundle, flow_graphs


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return flow_bundle(tmp_path)


def loaded(bundle: Bundle, change: dict[str, dict[str, Array | None]] | None = None, **how: int) -> Runner:
    return Runner(bundle, Parts(flow_graphs(), change), **how)


def observation(frames: tuple[str, ...] = ("base", "wrist"), base: int = 1, wrist: int = 2) -> Observation:
    shown = {"base": np.full((4, 6, 3), base, np.uint8), "wrist": np.full((3, 3, 3), wrist, np.uint8)}
    tokens = np.array([5, 6, 0, 0, 0, 0, 0, 9], np.int64)
    prompt = Prompt("", tokens, tokens != 9)
    return Observation({name: shown[name] for name in frames}, np.array([1.5, 10.0], np.float32), prompt)


def infer(runner: Runner, seen: Observation, noise: float | None = 0.0) -> Array:
    chunk = np.full((3, 2), np.nan, np.float32)
    runner.infer(seen, chunk, None if noise is None else np.full((3, 5), noise, np.float32))
    return chunk


def test_frames_text_state_and_time_become_actions(bundle: Bundle) -> None:
    """By hand: state (1.5-1)/0.5 + (10-2)/4 = 3, velocity 3 + 11 + 30 + t, four steps of -1/4 from x = 100."""
    wanted = 100.0 - (3 + 11 + 30) - (1.0 + 0.75 + 0.5 + 0.25) / 4
    chunk = infer(loaded(bundle), observation(), noise=100.0)
    np.testing.assert_allclose(chunk, [[wanted * 2.0 - 1.0, wanted * 0.25 + 3.0]] * 3, rtol=1e-6)


@pytest.mark.parametrize(("frames", "seen"), [(("base",), 1), (("wrist",), 2), ((), 0), (("base", "wrist"), 3)])
def test_a_camera_that_is_missing_is_masked(bundle: Bundle, frames: tuple[str, ...], seen: int) -> None:
    runner = loaded(bundle)
    infer(runner, observation())
    infer(runner, observation(frames))
    assert runner.graphs["prefix"].outputs["keys"].tolist() == [seen]


def test_frames_written_in_place_are_the_models_own(bundle: Bundle) -> None:
    runner = loaded(bundle)
    assert runner.frames["base"] is runner.graphs["image"].inputs["image.base"]
    runner.frames["base"][:] = 7
    seen = observation()
    infer(runner, Observation(runner.frames, seen.state, seen.prompt))
    assert runner.graphs["image"].outputs["pixels"].tolist() == [[7, 0]]
    infer(runner, seen)
    assert runner.graphs["image"].outputs["pixels"].tolist() == [[1, 2]]


def test_the_prefix_is_computed_once_and_the_flow_as_often_as_asked(bundle: Bundle) -> None:
    for steps, runs in ((0, 4), (2, 2), (1, 1)):
        runner = loaded(bundle, steps=steps)
        infer(runner, observation())
        assert [g.runs for g in runner.graphs.values()] == [1, 1, runs]  # type: ignore[attr-defined]


def test_the_chunk_is_kept_as_the_model_has_it(bundle: Bundle) -> None:
    runner = loaded(bundle)
    chunk = infer(runner, observation(), noise=100.0)
    assert (runner.normalised.shape, runner.normalised.dtype) == ((3, 2), np.float32)
    np.testing.assert_allclose(chunk, runner.normalised * [2.0, 0.25] + [-1.0, 3.0], rtol=1e-6)


def test_every_run_of_a_graph_is_watched(bundle: Bundle) -> None:
    """With what the graph holds at that moment: velocities differ by the time that passed."""
    runner, seen = loaded(bundle), list[tuple[str, float]]()
    runner.watch = lambda name, graph: seen.append((name, float(next(iter(graph.outputs.values())).ravel()[0])))
    infer(runner, observation())
    assert [name for name, _ in seen] == ["image", "prefix", *["step"] * 4]
    assert [value for name, value in seen if name == "step"] == [45.0, 44.75, 44.5, 44.25]


def test_given_noise_is_for_one_inference(bundle: Bundle) -> None:
    runner = loaded(bundle)
    still = infer(runner, observation(), 0.0)
    assert not np.array_equal(infer(runner, observation(), None), still)
    np.testing.assert_array_equal(infer(runner, observation(), 0.0), still)


def test_noise_is_standard_normal_and_follows_the_seed(bundle: Bundle) -> None:
    one, same, other = (loaded(bundle, seed=s) for s in (5, 5, 6))
    first, second = infer(one, observation(), None), infer(one, observation(), None)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(infer(same, observation(), None), first)
    assert not np.array_equal(infer(other, observation(), None), first)
    drawn = []
    for _ in range(400):
        calm = infer(one, observation(), None) - infer(one, observation(), 0.0)
        drawn.append(calm / [2.0, 0.25])
    assert abs(np.mean(drawn)) < 0.1
    assert abs(np.std(drawn) - 1.0) < 0.1


def test_without_normalisation_numbers_pass_as_they_are(tmp_path: Path) -> None:
    none = Normalisation("none")
    runner = loaded(flow_bundle(tmp_path, state_normalisation=none, action_normalisation=none))
    wanted = -(3 + 11 + 115) - 2.5 / 4
    np.testing.assert_allclose(infer(runner, observation()), wanted, rtol=1e-6)
    assert runner.graphs["step"].inputs["state"].tolist() == [[1.5, 10.0, 0.0, 0.0]]


def test_the_prompt_is_checked_before_it_is_followed(bundle: Bundle) -> None:
    runner = loaded(bundle)
    assert runner.prompt("up").mask.sum() == 3
    with pytest.raises(InstructionError, match="this policy takes 8"):
        runner.prompt("put the red cup on the tray")


def test_more_steps_than_the_bundle_knows(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"has nothing for 9 flow steps; this bundle takes 1 to 4"):
        loaded(bundle, steps=9)


@pytest.mark.parametrize(
    ("component", "inputs", "words"),
    [
        ("image", {"image.base": np.zeros((9, 9, 3), np.uint8)}, r"image\.onnx: input image\.base is .*9, 9, 3"),
        ("image", {"image.top": np.zeros((9, 9, 3), np.uint8)}, r"input image\.top is .*, the manifest says None"),
        ("prefix", {"tokens": np.zeros((1, 9), np.int64)}, r"prefix\.onnx: input tokens is "),
        ("step", {"x_t": np.zeros((1, 3, 5), np.float16)}, r"step\.onnx: input x_t is "),
        ("step", {"cond": np.zeros((1, 4), np.float32)}, r"step\.onnx: input cond is "),
        ("step", {"cond": None}, r"step\.onnx: input cond is None, the manifest says "),
        ("prefix", {"cond": np.zeros((1, 3), np.float32)}, r"prefix\.onnx: input cond is .*, the manifest says None"),
        ("step", {"tokens": np.zeros((1, 8), np.int64)}, r"step\.onnx: input tokens is .*, the manifest says None"),
    ],
)
def test_graphs_that_are_not_what_the_manifest_says(
    bundle: Bundle, component: str, inputs: dict[str, Array | None], words: str
) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        loaded(bundle, {component: inputs})
    assert "\n" not in str(caught.value)


def test_an_inference_leaves_nothing_behind(bundle: Bundle) -> None:
    runner, seen, chunk = loaded(bundle), observation(), np.empty((3, 2), np.float32)
    assert growth(lambda: runner.infer(seen, chunk)) < 500
