"""The flow policy over graphs of pure arithmetic: what it writes into them, and what it makes of what they answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save_file

from edge_runtime.backends.base import Backend, Graph
from edge_runtime.bundle import Bundle, Normalisation, open_bundle, seal
from edge_runtime.errors import BundleError, InstructionError
from edge_runtime.policies.base import Observation, Prompt
from edge_runtime.policies.flow import Runner
from tests.edge_runtime import tiny_bundle, tiny_tokenizer
from tests.edge_runtime.memory import growth

SPEC = tiny_bundle.SPEC
WIDTH = 3
Buffers = dict[str, np.ndarray[Any, Any]]


class Arithmetic(Graph):
    """A graph that is a function from its inputs to its outputs, in place."""

    def __init__(self, inputs: Buffers, outputs: Buffers, compute: Callable[[Buffers, Buffers], None]) -> None:
        self.inputs, self.outputs, self._compute = inputs, outputs, compute
        self.fed: Buffers = {}
        self.runs = 0

    def run(self) -> None:
        self.runs += 1
        self._compute({**self.inputs, **self.fed}, dict(self.outputs))


def mean_of_frames(given: Buffers, out: Buffers) -> None:
    out["pixels"][:] = [[given["image.base"].mean(), given["image.wrist"].mean()]]


def remember(given: Buffers, out: Buffers) -> None:
    out["keys"][:] = (given["pixels"] * given["camera_mask"]).sum()
    out["values"][:] = (given["tokens"] * given["token_mask"]).sum()
    out["prefix_mask"][:] = True


def drift(given: Buffers, out: Buffers) -> None:
    """dx/dt = keys + values + 10·(sum of the state) + t, the same for every number."""
    out["velocity"][:] = given["keys"] + given["values"] + 10.0 * given["state"].sum() + given["cond"][0, 0]


class Parts(Backend):
    """Loads the three graphs above by file name; `change` may spoil a graph's inputs."""

    def __init__(self, change: Mapping[str, Buffers] | None = None) -> None:
        super().__init__()
        self._change = change or {}

    def load(self, path: Path, feeds: Mapping[str, tuple[Graph, str]] | None = None) -> Arithmetic:
        f, b = np.float32, np.bool_
        mask, tokens = np.zeros((1, 8), b), np.zeros((1, 8), np.int64)
        frames = {f"image.{c.name}": np.zeros((c.height, c.width, 3), np.uint8) for c in SPEC.cameras}
        cache = {"keys": np.zeros(1, f), "values": np.zeros(1, f), "prefix_mask": np.zeros((1, 8), b)}
        text = {"camera_mask": np.zeros((1, 2), b), "tokens": tokens, "token_mask": mask}
        flow = {"state": np.zeros((1, 4), f), "x_t": np.zeros((1, 3, 5), f), "cond": np.zeros((1, WIDTH), f)}
        graph = {
            "image": lambda: Arithmetic(frames, {"pixels": np.zeros((1, 2), f)}, mean_of_frames),
            "prefix": lambda: Arithmetic(text, cache, remember),
            "step": lambda: Arithmetic(flow, {"velocity": np.zeros((1, 3, 5), f)}, drift),
        }[path.stem]()
        graph.inputs = {**graph.inputs, **self._change.get(path.stem, {})}
        graph.fed = {name: source.outputs[output] for name, (source, output) in (feeds or {}).items()}
        return graph


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return made(tmp_path)


def made(folder: Path, **spec: Any) -> Bundle:
    path = tiny_bundle.write(folder / "b", **spec)
    tiny_tokenizer.write(path / "tokenizer.json")
    times = {n: 1.0 - np.arange(n, dtype=np.float32) / n for n in (1, 2, 3, 4)}
    save_file({f"cond.{n}": np.repeat(t[:, None], WIDTH, 1) for n, t in times.items()}, path / "constants.safetensors")
    replace = msgspec.structs.replace
    seal(path, replace(tiny_bundle.MANIFEST, spec=replace(SPEC, **spec)))
    return open_bundle(path)


def observation(frames: tuple[str, ...] = ("base", "wrist"), base: int = 1, wrist: int = 2) -> Observation:
    shown = {"base": np.full((4, 6, 3), base, np.uint8), "wrist": np.full((3, 3, 3), wrist, np.uint8)}
    tokens = np.array([5, 6, 0, 0, 0, 0, 0, 9], np.int64)
    prompt = Prompt("", tokens, tokens != 9)
    return Observation({name: shown[name] for name in frames}, np.array([1.5, 10.0], np.float32), prompt)


def infer(runner: Runner, seen: Observation, noise: float | None = 0.0) -> np.ndarray[Any, Any]:
    chunk = np.full((3, 2), np.nan, np.float32)
    runner.infer(seen, chunk, None if noise is None else np.full((3, 5), noise, np.float32))
    return chunk


def test_frames_text_state_and_time_become_actions(bundle: Bundle) -> None:
    """By hand: state (1.5-1)/0.5 + (10-2)/4 = 3, velocity 3 + 11 + 30 + t, four steps of -1/4 from x = 100."""
    wanted = 100.0 - (3 + 11 + 30) - (1.0 + 0.75 + 0.5 + 0.25) / 4
    chunk = infer(Runner(bundle, Parts()), observation(), noise=100.0)
    np.testing.assert_allclose(chunk, [[wanted * 2.0 - 1.0, wanted * 0.25 + 3.0]] * 3, rtol=1e-6)


@pytest.mark.parametrize(("frames", "seen"), [(("base",), 1), (("wrist",), 2), ((), 0), (("base", "wrist"), 3)])
def test_a_camera_that_is_missing_is_masked(bundle: Bundle, frames: tuple[str, ...], seen: int) -> None:
    runner = Runner(bundle, Parts())
    infer(runner, observation())
    infer(runner, observation(frames))
    assert runner.graphs["prefix"].outputs["keys"].tolist() == [seen]


def test_frames_written_in_place_are_the_models_own(bundle: Bundle) -> None:
    runner = Runner(bundle, Parts())
    assert runner.frames["base"] is runner.graphs["image"].inputs["image.base"]
    runner.frames["base"][:] = 7
    seen = observation()
    infer(runner, Observation(runner.frames, seen.state, seen.prompt))
    assert runner.graphs["image"].outputs["pixels"].tolist() == [[7, 0]]
    infer(runner, seen)
    assert runner.graphs["image"].outputs["pixels"].tolist() == [[1, 2]]


def test_the_prefix_is_computed_once_and_the_flow_as_often_as_asked(bundle: Bundle) -> None:
    for steps, runs in ((0, 4), (2, 2), (1, 1)):
        runner = Runner(bundle, Parts(), steps=steps)
        infer(runner, observation())
        assert [g.runs for g in runner.graphs.values()] == [1, 1, runs]  # type: ignore[attr-defined]


def test_noise_is_standard_normal_and_follows_the_seed(bundle: Bundle) -> None:
    one, same, other = (Runner(bundle, Parts(), seed=s) for s in (5, 5, 6))
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
    runner = Runner(made(tmp_path, state_normalisation=none, action_normalisation=none), Parts())
    wanted = -(3 + 11 + 115) - 2.5 / 4
    np.testing.assert_allclose(infer(runner, observation()), wanted, rtol=1e-6)
    assert runner.graphs["step"].inputs["state"].tolist() == [[1.5, 10.0, 0.0, 0.0]]


def test_the_prompt_is_checked_before_it_is_followed(bundle: Bundle) -> None:
    runner = Runner(bundle, Parts())
    assert runner.prompt("up").mask.sum() == 3
    with pytest.raises(InstructionError, match="this policy takes 8"):
        runner.prompt("put the red cup on the tray")


def test_more_steps_than_the_bundle_knows(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"has nothing for 9 flow steps; this bundle takes 1 to 4"):
        Runner(bundle, Parts(), steps=9)


@pytest.mark.parametrize(
    ("component", "inputs", "words"),
    [
        ("image", {"image.base": np.zeros((9, 9, 3), np.uint8)}, r"image\.onnx: input image\.base is .*9, 9, 3"),
        ("image", {"image.top": np.zeros((9, 9, 3), np.uint8)}, r"input image\.top is .*, the manifest says None"),
        ("prefix", {"tokens": np.zeros((1, 9), np.int64)}, r"prefix\.onnx: input tokens is "),
        ("step", {"x_t": np.zeros((1, 3, 5), np.float16)}, r"step\.onnx: input x_t is "),
        ("step", {"cond": np.zeros((1, 4), np.float32)}, r"step\.onnx: input cond is "),
    ],
)
def test_graphs_that_are_not_what_the_manifest_says(
    bundle: Bundle, component: str, inputs: Buffers, words: str
) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        Runner(bundle, Parts({component: inputs}))
    assert "\n" not in str(caught.value)


def test_an_inference_leaves_nothing_behind(bundle: Bundle) -> None:
    runner, seen, chunk = Runner(bundle, Parts()), observation(), np.empty((3, 2), np.float32)
    assert growth(lambda: runner.infer(seen, chunk)) < 500
