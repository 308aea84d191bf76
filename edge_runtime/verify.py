"""Does this machine compute what the bundle's reference did? The policy runs over the bundle's own probes.

Needs nothing but the bundle: no torch, no dataset, no float32 original. The same input must give the same answer twice,
another frame another one, and nothing may be NaN or infinite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_runtime import accuracy_text
from edge_runtime.accuracy import FLOAT32_GATE, QUANTIZED_GATE, ActionErrors, Gate, action_errors, plain
from edge_runtime.backends.base import Backend
from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import Manifest, PolicySpec
from edge_runtime.errors import MalformedTokens
from edge_runtime.plugins import spelt
from edge_runtime.policies import flow, tokens
from edge_runtime.policies.base import Floats
from edge_runtime.policies.graph_policy import GraphPolicy
from edge_runtime.policies.runners import runner
from edge_runtime.policies.seams import probed
from edge_runtime.probes import Probe, read_probes

_GREY = 128


def gate_of(manifest: Manifest) -> Gate:
    """The gate that a bundle of this manifest is held to."""
    return FLOAT32_GATE if manifest.quantization is None else QUANTIZED_GATE


def check(bundle: Bundle, backend: Backend, told: Callable[[float], None] = lambda _: None) -> ActionErrors:
    """Hold the bundle's graphs, run by `backend`, to its probes.

    `told` is called with the part that is done. Raises `BundleError` and `BackendError` where there is nothing to
    compare; a bundle that computes something else is a verdict, not an error.
    """
    probes = read_probes(bundle)
    policy = runner(bundle, backend, on_malformed="pad", seam=probed(bundle.manifest))
    found: list[Probe] = []
    for done, probe in enumerate(probes):
        told(done / (len(probes) + 2))
        actions, written = answer(policy, probe)
        found.append(replace(probe, actions=actions, written=written))
    errors = action_errors(
        bundle.spec,
        [probe.actions for probe in found],
        [probe.actions for probe in probes],
        gate_of(bundle.manifest),
        [(a.written, b.written) for a, b in zip(found, probes, strict=True)],
    )
    told(len(probes) / (len(probes) + 2))
    fault = _fault(policy, found[0])
    return msgspec.structs.replace(errors, verdict="fail", fault=fault) if fault else errors


def steady(policy: GraphPolicy, answered: Probe) -> bool:
    """Whether `policy` gives its own answer in `answered` again, and another one to another observation."""
    return not _fault(policy, answered)


def _fault(policy: GraphPolicy, answered: Probe) -> str:
    """What is not `steady`, in words."""
    actions, written = answer(policy, answered)
    seen = _undecided(policy, actions)
    if not np.array_equal(actions, answered.actions, equal_nan=True) or written != answered.written:
        return "the same observation gave another answer the second time"
    other, _ = answer(policy, _another(policy.spec, answered))
    if np.array_equal(_undecided(policy, other), seen, equal_nan=True):
        return "other frames gave the same answer: what it sees counts for nothing"
    if isinstance(policy, flow.Runner):
        other, _ = answer(policy, replace(answered, noise=-answered.noise))
        if np.array_equal(other, actions, equal_nan=True):
            return "other noise gave the same answer: a flow begins with it"
    return ""


def _undecided(policy: GraphPolicy, actions: Floats) -> NDArray[Any]:
    """Where every change shows: in `actions`, or in the first token's logits, as many of them mean the same token."""
    return policy.graphs[policy.first].outputs["logits"].copy() if isinstance(policy, tokens.Runner) else actions


def _another(spec: PolicySpec, probe: Probe) -> Probe:
    """`probe` with frames that are as unlike its own as can be. Noise and state stay: they would hide blind eyes."""
    seen = probe.observation
    frames = {
        c.name: 255 - seen.frames[c.name] if c.name in seen.frames else np.full((c.height, c.width, 3), _GREY, np.uint8)
        for c in spec.cameras
    }
    return replace(probe, observation=replace(seen, frames=frames))


def answer(policy: GraphPolicy, probe: Probe) -> tuple[Floats, tuple[int, ...]]:
    """What `policy`, which pads, makes of a probe: actions [horizon, dims], and the tokens that it wrote.

    Actions are NaN where logits were not finite.
    """
    actions = np.empty((policy.spec.horizon, policy.spec.action.dims), np.float32)
    try:
        if isinstance(policy, flow.Runner):
            policy.infer(probe.observation, actions, probe.noise)
        else:
            policy.infer(probe.observation, actions)
    except MalformedTokens:  # a policy that pads takes every sequence: these are logits that are not finite
        actions.fill(np.nan)
    written = tuple(policy.tokens[: policy.count].tolist()) if isinstance(policy, tokens.Runner) else ()
    return actions, written


def facts(bundle: Bundle, backend: str, errors: ActionErrors) -> dict[str, Any]:
    """What was found, for a program; an error that is not finite is null."""
    return {
        "path": str(bundle.path),
        "backend": backend,
        "sealed": bundle.manifest.verdict,
        "verdict": errors.verdict,
        "actions": plain(errors),
    }


def text(bundle: Bundle, backend: str, errors: ActionErrors) -> str:
    """What was found, for a person."""
    accepted = ", as it was sealed: a person accepted that" if bundle.manifest.verdict == "accepted" else ""
    return "\n".join(
        [
            f"{bundle.path}: backend {spelt(backend)}, against the bundle's own probes",
            *(f"  {line}" for line in accuracy_text.actions(errors)),
            f"  verdict: {errors.verdict}{accepted if errors.verdict == 'fail' else ''}",
        ]
    )
