"""Is the bundle what the checkpoint computes? The runtime's own policy runs it beside PyTorch, stage by stage.

One policy code, two backends: the ONNX files as a robot runs them, and the PyTorch modules they were made of. The same
seed must match in every output of every graph, another seed must not, and nothing may be NaN or infinite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_runtime.accuracy import FLOAT32_GATE, Accuracy, Measure, Running, action_errors
from edge_runtime.backends.base import Backend
from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import GUIDE, FlowSpec, Manifest, Normalisation, PolicySpec
from edge_runtime.policies import flow, tokens
from edge_runtime.policies.base import Ahead, Observation, Prompt, Seam
from edge_runtime.policies.graph_policy import GraphPolicy, recorded
from edge_runtime.policies.runners import runner
from edge_runtime.policies.seams import probed
from edge_runtime.probes import Probe
from export.errors import ExportError

SEEDS = (0, 1)
GOING_ON = 2
"""The seed of a chunk that goes on from a running one."""
Floats = NDArray[np.float32]
Pairs = list[tuple[NDArray[Any], NDArray[Any]]]


@dataclass(frozen=True)
class Example:
    """One seeded input. With the second seed on, the last of several cameras is missing where it may be.

    `steps`: flow steps, 0 for the bundle's own.
    """

    observation: Observation
    noise: Floats
    steps: int = 0
    seam: Seam = "none"


@dataclass(frozen=True)
class Outcome:
    """Every output of every graph, in the order of its runs, the tokens that were written, and the actions."""

    outputs: dict[str, list[NDArray[Any]]]
    tokens: tuple[int, ...]
    actions: Floats


def example(spec: PolicySpec, vocab: int, seed: int) -> Example:
    """Random frames, state, tokens below `vocab` and noise."""
    rng = np.random.default_rng(seed)
    cameras = list(spec.cameras)
    if seed and len(cameras) > 1 and cameras[-1].missing != "refuse":
        cameras.pop()
    frames = {c.name: rng.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in cameras}
    text = spec.prompt.max_tokens
    mask = np.arange(text) <= rng.integers(0, text)
    prompt = Prompt("", rng.integers(0, vocab, text), mask)
    noise = rng.standard_normal((spec.horizon, spec.action.padded), np.float32)
    steps = max(1, spec.head.steps // (1 + seed)) if isinstance(spec.head, FlowSpec) else 0
    state = _spread(spec.state_normalisation, rng.standard_normal(spec.state.dims))
    return Example(Observation(frames, state, prompt), noise, steps)


def examples(manifest: Manifest, vocab: int) -> list[Example]:
    """One for each seed, and one of a chunk that goes on from each kind of running one that the bundle takes."""
    spec = manifest.spec
    found = [example(spec, vocab, seed) for seed in SEEDS]
    seams: list[tuple[Seam, int]] = [("guided", spec.horizon // 3)] if GUIDE in manifest.graphs else []
    if isinstance(spec.head, FlowSpec) and spec.head.committed:
        seams.append(("committed", spec.head.committed))
    for seam, committed in seams:
        more, rng = example(spec, vocab, GOING_ON), np.random.default_rng(GOING_ON)
        drawn = _spread(spec.action_normalisation, rng.standard_normal((spec.horizon, spec.action.dims)))
        ahead = Ahead(drawn, committed, max(committed, spec.horizon - 1))
        found.append(replace(more, observation=replace(more.observation, ahead=ahead), steps=0, seam=seam))
    return found


def _spread(norm: Normalisation, normal: NDArray[np.float64]) -> Floats:
    """Random numbers [..., dims] as the statistics have them."""
    if norm.kind == "none":
        return normal.astype(np.float32)
    a, b = np.asarray(norm.a), np.asarray(norm.b)
    centre, spread = (a, b) if norm.kind == "mean_std" else ((a + b) / 2.0, (b - a) / 4.0)
    found: Floats = (normal * spread + centre).astype(np.float32)
    return found


def run(policy: GraphPolicy, given: Example) -> Outcome:
    """One inference, with everything it computed on the way."""
    actions = np.empty((policy.spec.horizon, policy.spec.action.dims), np.float32)
    with recorded(policy) as seen:
        if isinstance(policy, flow.Runner):
            policy.infer(given.observation, actions, given.noise)
        else:
            policy.infer(given.observation, actions)
    written = tuple(policy.tokens[: policy.count].tolist()) if isinstance(policy, tokens.Runner) else ()
    return Outcome(seen, written, actions)


def verify(
    bundle: Bundle, vocab: int, reference: Backend, found: Backend, told: Callable[[float], None] | None = None
) -> tuple[Accuracy, list[Probe]]:
    """Hold the graphs of `found` against those of `reference` on every example; the reference's answers become probes.

    The seeds take different numbers of flow steps, but for the probes. `told` is called with the part that is done.
    Raise `ExportError` that names the first component that fails.
    """
    given = examples(bundle.manifest, vocab)
    wanted, got = _outcomes(bundle, given, (reference, found), told)
    for seed, (a, b) in enumerate(zip(got, wanted, strict=True)):
        if a.tokens != b.tokens:
            raise ExportError(f"tokens: with seed {seed} the bundle wrote {a.tokens}, PyTorch {b.tokens}")
    gate = FLOAT32_GATE.max_share
    names = dict.fromkeys(name for outcome in wanted for name in outcome.outputs)
    components = {name: measure(_pairs(name, got, wanted), gate) for name in names}
    for name, result in components.items():
        if result.verdict != "pass":
            raise ExportError(
                f"{name}: the bundle is {result.max_error:.3g} away from PyTorch, the gate is "
                f"{(result.gate or 0.0) * result.scale:.3g} (cosine {result.cosine:.6f}); nothing was written"
            )
    errors = action_errors(
        bundle.spec,
        [outcome.actions for outcome in got],
        [outcome.actions for outcome in wanted],
        FLOAT32_GATE,
        [(a.tokens, b.tokens) for a, b in zip(got, wanted, strict=True)],
    )
    if errors.verdict != "pass":
        raise ExportError(
            f"actions: {errors.worst} is {errors.max_share:.3g} of its range away from PyTorch, the gate is {gate}; "
            "nothing was written"
        )
    last = list(wanted[0].outputs)[-1]
    if measure([(got[0].outputs[last][0], wanted[1].outputs[last][0])], gate).verdict == "pass":
        raise ExportError(f"{last}: another input gives the same one, so comparing them proves nothing")
    said = f"PyTorch {torch.__version__} float32", f"{len(given)} seeded observations"
    return Accuracy("pass", *said, components, errors), _probes(bundle.manifest, given, wanted)


def _outcomes(
    bundle: Bundle, given: Sequence[Example], backends: Sequence[Backend], told: Callable[[float], None] | None
) -> list[list[Outcome]]:
    """For each backend, what it makes of each example."""
    found: list[list[Outcome]] = [[] for _ in backends]
    runs = [(outcomes, backend, one) for outcomes, backend in zip(found, backends, strict=True) for one in given]
    for done, (outcomes, backend, one) in enumerate(runs):
        if told is not None:
            told(done / len(runs))
        policy = runner(bundle, backend, flow_steps=one.steps, on_malformed="pad", seam=one.seam)
        outcomes.append(run(policy, one))
    return found


def _probes(manifest: Manifest, given: Sequence[Example], wanted: Sequence[Outcome]) -> list[Probe]:
    """The reference's answers that took all flow steps, and of the seams the one with which a bundle is probed."""
    pairs = list(zip(given, wanted, strict=True))
    if isinstance(manifest.spec.head, FlowSpec):
        pairs = pairs[:1] + [(one, made) for one, made in pairs[1:] if one.seam == probed(manifest) != "none"]
    return [Probe(one.observation, one.noise, made.actions, made.tokens) for one, made in pairs]


def _pairs(name: str, got: list[Outcome], wanted: list[Outcome]) -> Pairs:
    return [
        pair
        for a, b in zip(got, wanted, strict=True)
        for pair in zip(a.outputs.get(name, []), b.outputs.get(name, []), strict=True)
    ]


def measure(pairs: Pairs, gate: float | None) -> Measure:
    """Compare (found, reference) arrays. What is not finite fails."""
    running = Running(gate)
    for found, reference in pairs:
        running.add(found, reference)
    return running.measure()
