"""The self-test judges the graphs as they were sealed and times them as robot.toml runs them, and loads them once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_runtime.backends.base import Feeds
from edge_runtime.bundle import Bundle, open_bundle, seal
from edge_runtime.config import Motion, Robot
from edge_runtime.deploy.service.self_test import TIMED, proven_policy
from edge_runtime.errors import BundleError, MalformedTokens
from edge_runtime.policies.base import Seam
from edge_runtime.policies.runners import runner
from edge_runtime.policies.seams import probed
from edge_runtime.probes import write_probes
from edge_runtime.verify import answer
from tests.edge_runtime import tiny_bundle
from tests.edge_runtime.fakes import robot
from tests.edge_runtime.policies import token_bundle
from tests.edge_runtime.policies.arithmetic import (
    Arithmetic,
    Buffers,
    Parts,
    flow_bundle,
    flow_graphs,
    going_on_bundle,
    going_on_graphs,
    serve,
    token_graphs,
)


class Counted(Parts):
    """Says what was loaded, in order."""

    def __init__(self, graphs: Mapping[str, Arithmetic]) -> None:
        super().__init__(graphs)
        self.loaded: list[str] = []

    def load(self, path: Path, feeds: Feeds | None = None, inner: Collection[str] = ()) -> Arithmetic:
        self.loaded.append(path.stem)
        return super().load(path, feeds, inner)


def answered(bundle: Bundle, graphs: Mapping[str, Arithmetic], off: float = 0.0, verdict: str = "pass") -> Bundle:
    """`bundle` with the answers of these graphs to a probe, all of them `off` by so much."""
    policy = runner(bundle, Parts(graphs), on_malformed="pad", seam=probed(bundle.manifest))
    probe = tiny_bundle.probe(bundle.spec)
    actions, written = answer(policy, probe)
    write_probes(bundle.path / bundle.manifest.probes, [replace(probe, actions=actions + off, written=written)])
    seal(bundle.path, msgspec.structs.replace(bundle.manifest, verdict=verdict))
    return open_bundle(bundle.path)


def wanted(seam: Seam = "blend", **policy: object) -> Robot:
    made = robot(policy=policy)
    return msgspec.structs.replace(made, motion=Motion(seam=seam))


def test_as_sealed_whatever_robot_toml_makes_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, backend = answered(flow_bundle(tmp_path), flow_graphs()), Counted(flow_graphs())
    serve(monkeypatch, backend)
    policy, found = proven_policy(wanted(flow_steps=2, prefix_every=3, seed=5), bundle)
    assert backend.loaded == ["image", "prefix", "step"]
    assert (found.answers.verdict, found.answers.max, found.accepted) == ("pass", 0.0, False)
    assert found.inference_ms > 0
    step, prefix = backend.graphs["step"], backend.graphs["prefix"]
    step.runs = prefix.runs = 0
    probe, chunk = tiny_bundle.probe(bundle.spec), np.zeros((3, 2), np.float32)
    for _ in range(4):
        policy.infer(probe.observation, chunk)
    assert (step.runs, prefix.runs) == (4 * 2, 2)  # the first of them looked anew


def test_the_seed_is_robot_tomls_and_nothing_was_drawn_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, chunks = answered(flow_bundle(tmp_path), flow_graphs()), []
    serve(monkeypatch, Parts(flow_graphs()))
    tested, _ = proven_policy(wanted(seed=5), bundle)
    for policy in (tested, runner(bundle, Parts(flow_graphs()), seed=5)):
        chunks.append(np.zeros((3, 2), np.float32))
        policy.infer(tiny_bundle.probe(bundle.spec).observation, chunks[-1])
    assert np.array_equal(*chunks)


def test_it_is_timed_as_robot_toml_runs_it_with_new_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, runs = answered(flow_bundle(tmp_path), flow_graphs()), []
    for steps in (1, 4):
        graphs = flow_graphs()
        serve(monkeypatch, Parts(graphs))
        proven_policy(wanted(flow_steps=steps, prefix_every=9), bundle)
        runs.append((graphs["step"].runs, graphs["prefix"].runs))
    assert runs[1][0] - runs[0][0] == TIMED * 3
    assert runs[0][1] == runs[1][1] == 4 + TIMED


def test_a_guide_that_is_not_wanted_is_judged_and_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = answered(going_on_bundle(tmp_path, guided=True), going_on_graphs(committed=False))
    backend = Counted(going_on_graphs(committed=False))
    serve(monkeypatch, backend)
    policy, _ = proven_policy(wanted("blend"), bundle)
    assert sorted(backend.loaded) == ["guide", "image", "prefix", "step"]
    assert "guide" not in policy.graphs


def wordless(length: int) -> dict[str, Arithmetic]:
    """A token policy that stops at once, with logits that depend on what it sees."""
    graphs = token_graphs(range(token_bundle.TOP + 1), [token_bundle.FAST.stop] * length)
    image, prefill = graphs["image"], graphs["prefill"]
    begin = prefill._compute

    def look(given: Buffers, out: Buffers) -> None:
        out["pixels"][:] = given["image.base"].mean()

    def say(given: Buffers, out: Buffers) -> None:
        begin(given, out)
        out["logits"] += given["pixels"]

    graphs["image"] = Arithmetic(dict(image.inputs), dict(image.outputs), look)
    prefill._compute = say
    return graphs


def test_action_tokens_are_judged_padded_and_then_are_what_robot_toml_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = answered(token_bundle.fast(tmp_path, max_new=12), wordless(12))
    serve(monkeypatch, Parts(wordless(12)))
    for asked, malformed in (("fault", True), ("pad", False)):
        policy, found = proven_policy(wanted(on_malformed=asked), bundle)
        assert (found.answers.verdict, found.answers.tokens_same) == ("pass", 1.0)
        chunk = np.zeros((bundle.spec.horizon, bundle.spec.action.dims), np.float32)
        with pytest.raises(MalformedTokens) if malformed else nullcontext():
            policy.infer(tiny_bundle.probe(bundle.spec).observation, chunk)


@pytest.mark.parametrize("off", [1.0, float("nan")])
def test_another_answer_than_was_recorded_is_one_line_with_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off: float
) -> None:
    bundle = answered(flow_bundle(tmp_path), flow_graphs(), off)
    serve(monkeypatch, Parts(flow_graphs()))
    with pytest.raises(BundleError, match="self-test failed: on this machine it does not answer its own") as caught:
        proven_policy(wanted(), bundle)
    assert "\n" not in str(caught.value)


def test_what_a_person_has_accepted_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = answered(flow_bundle(tmp_path), flow_graphs(), off=1.0, verdict="accepted")
    serve(monkeypatch, Parts(flow_graphs()))
    _, found = proven_policy(wanted(), bundle)
    assert found.accepted
    assert found.facts()["verdict"] == "accepted"
    assert "as was accepted" in found.text()


def test_progress_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    serve(monkeypatch, Parts(flow_graphs()))
    proven_policy(wanted(), answered(flow_bundle(tmp_path), flow_graphs()), told.append)
    assert told == sorted(told)
    assert told
