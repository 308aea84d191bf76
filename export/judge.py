"""Is the quantized bundle still the policy? It and its original answer the same observations, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration.observations import Sample, Samples
from edge_runtime.accuracy import QUANTIZED_GATE, Accuracy, Measure, Running, action_errors
from edge_runtime.backends.base import Backend
from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import FlowSpec, Manifest
from edge_runtime.errors import InstructionError
from edge_runtime.policies.base import Ahead, Observation, Seam
from edge_runtime.policies.graph_policy import GraphPolicy, recorded
from edge_runtime.policies.runners import runner
from edge_runtime.probes import Probe
from edge_runtime.tokenizer import PromptTokenizer
from edge_runtime.verify import answer, steady
from export import pieces, torch_graph
from export.errors import ExportError

_UNSTEADY = "the same observation gave another answer, or another one the same"


def engine_for(manifest: Manifest, threads: int) -> Backend:
    """What judges a bundle here: ONNX Runtime where all floats are float32, PyTorch where some are half."""
    return torch_graph.Engine(threads) if manifest.has_half else pieces.Engine(threads)


def prompt_tokenizer(bundle: Bundle) -> PromptTokenizer:
    """What makes the policy's prompts of instructions; `ExportError` where it takes tokens and no words."""
    name = bundle.manifest.tokenizer
    if not name:
        raise ExportError(
            f"{bundle.path}: has no tokenizer, and a dataset's instructions are words: export it with --tokenizer"
        )
    return PromptTokenizer(bundle.path / name, bundle.spec.prompt, bundle.spec.state.dims)


def as_probes(bundle: Bundle, seen: Samples, seed: int) -> tuple[list[Probe], list[Probe]]:
    """Both sets of samples as the policy is shown them, with seeded noise, and no answers yet.

    `ExportError` for an instruction that the policy does not take.
    """
    spec, tokenizer = bundle.spec, prompt_tokenizer(bundle)
    blank = np.zeros((spec.horizon, spec.action.dims), np.float32)

    def probe(sample: Sample, noise: NDArray[np.float32]) -> Probe:
        try:
            prompt = tokenizer.encode(sample.instruction)
        except InstructionError as error:
            raise ExportError(f"{sample.where}: {error}") from error
        return Probe(Observation(sample.frames, sample.state, prompt), noise, blank)

    def probes(samples: Sequence[Sample], number: int) -> list[Probe]:
        rng, shape = np.random.default_rng([seed, number]), (spec.horizon, spec.action.padded)
        return [probe(sample, rng.standard_normal(shape, np.float32)) for sample in samples]

    return probes(seen.calibration, 0), probes(seen.held_out, 1)


def judge(
    made: Bundle,
    original: Bundle,
    engine: Backend,
    reference: Backend,
    probes: Sequence[Probe],
    told: Callable[[float], None],
) -> tuple[Accuracy, list[Probe]]:
    """Compare `made`, run by `engine`, with `original`, run by `reference`, over `probes`.

    Decoders are compared as long as both have been given the same tokens: what comes behind another token is another.
    Where the checkpoint was trained with committed actions, every second chunk goes on from one of the original's.
    Returns what is to stand in accuracy.json, and the probes with the original's answers.
    """
    head = made.spec.head
    committed = head.committed if isinstance(head, FlowSpec) else 0
    seam: Seam = "committed" if committed else "none"
    policies = (
        runner(made, engine, on_malformed="pad", seam=seam),
        runner(original, reference, on_malformed="pad", seam=seam),
    )
    components: dict[str, Running] = {}
    found: list[Probe] = []
    answered: list[Probe] = []
    for done, probe in enumerate(probes):
        told(done / len(probes))
        shown = _following(probe, answer(policies[1], probe)[0], committed) if committed and done % 2 else probe
        a, b = (_ask(policy, shown) for policy in policies)
        alike = _alike(a[0].written, b[0].written)
        for name, outputs in b[1].items():
            runs = alike if name.startswith("decode.") else len(outputs)
            for x, y in zip(a[1].get(name, [])[:runs], outputs, strict=False):
                components.setdefault(name, Running()).add(x, y)
        found.append(a[0])
        answered.append(b[0])
    errors = action_errors(
        made.spec,
        [probe.actions for probe in found],
        [probe.actions for probe in answered],
        QUANTIZED_GATE,
        [(a.written, b.written) for a, b in zip(found, answered, strict=True)],
    )
    measures = {name: running.measure() for name, running in components.items()}
    fault = _fault(measures) or ("" if steady(policies[0], found[0]) else _UNSTEADY)
    if fault:
        errors = msgspec.structs.replace(errors, verdict="fail", fault=fault)
    said = f"{len(probes)} held-out observations"
    return Accuracy(errors.verdict, _reference(original), said, measures, errors), answered


def _following(probe: Probe, actions: NDArray[np.float32], committed: int) -> Probe:
    """The same observation, of an arm that follows `actions` [horizon, dims] and is one row further."""
    ahead = Ahead(np.concatenate([actions[1:], actions[-1:]]), committed, len(actions) - 1)
    return replace(probe, observation=replace(probe.observation, ahead=ahead))


def _alike(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences have in common before they part."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _fault(measures: Mapping[str, Measure]) -> str:
    """What is wrong although no action may show it: a graph's output that is not finite."""
    return next((f"{name} is not finite" for name, measure in measures.items() if measure.verdict != "pass"), "")


def _ask(policy: GraphPolicy, probe: Probe) -> tuple[Probe, dict[str, list[NDArray[Any]]]]:
    with recorded(policy) as outputs:
        actions, written = answer(policy, probe)
    return replace(probe, actions=actions, written=written), outputs


def _reference(original: Bundle) -> str:
    return f"the float32 bundle {original.manifest.seal[:16]} in ONNX Runtime"
