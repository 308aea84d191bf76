"""Our side of a row, in a process of its own: engines where the backend has some, answers, then times."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.bundle import ANSWERS
from benchmarks.gpu.models import observations
from benchmarks.gpu.stopwatch import Stopwatch, Timed
from benchmarks.gpu.timing import DIFFERENT, WARM_UP, summary
from edge_runtime import plugins
from edge_runtime.backends.base import Backend
from edge_runtime.backends.cuda.gpu import gpu
from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.engines.api import BACKENDS as COMPILED
from edge_runtime.engines.compile import compile_bundle
from edge_runtime.policies import flow, tokens
from edge_runtime.policies.graph_policy import GraphPolicy
from edge_runtime.policies.runners import runner
from export.verify import Example

Arrays = dict[str, np.ndarray[Any, Any]]


def measure(bundle: str, backend: str, replays: int, answers: str) -> dict[str, Any]:
    """Load the bundle's policy and time its inferences; its answers to `bundle.ANSWERS` observations go to a file.

    That file has "actions", or "tokens" and "logits", [n, ...].
    """
    engines = prepare(Path(bundle), backend)
    opened, watch = open_bundle(Path(bundle)), Stopwatch()
    gc.collect()
    before, began = gpu().memory()[0], time.monotonic()
    policy = runner(opened, Timed(engine(backend), watch), on_malformed="pad")
    loaded = time.monotonic() - began
    given = list(observations(opened.spec, opened.spec.prompt.vocab, max(ANSWERS, DIFFERENT)))
    found = [answer(policy, one) for one in given[:ANSWERS]]
    watch.read()
    np.savez(Path(answers), **{key: np.stack([one[key] for one in found]) for key in found[0]})
    times = timed(policy, watch, given[:DIFFERENT], replays)
    told = {"seconds_to_build": engines, "seconds_to_load": round(loaded, 1)}
    return {**told, **times, "memory_bytes": before - gpu().memory()[0]}


def prepare(bundle: Path, backend: str) -> float:
    """Build the bundle's engines, where the backend has some; seconds."""
    began = time.monotonic()
    if backend in COMPILED:
        compile_bundle(bundle, backend)
    return round(time.monotonic() - began, 1)


def engine(backend: str) -> Backend:
    """The backend, with all of this machine's cores."""
    found: Backend = plugins.load("edge_runtime.backends", backend).Engine(os.cpu_count() or 1)
    return found


def opened_policy(bundle: Path, backend: str) -> tuple[Bundle, GraphPolicy]:
    """The bundle and its policy on that backend."""
    prepare(bundle, backend)
    opened = open_bundle(bundle)
    return opened, runner(opened, engine(backend), on_malformed="pad")


def answer(policy: GraphPolicy, one: Example) -> Arrays:
    """What the policy makes of one observation: "actions" as the model has them, or "tokens" and "logits"."""
    actions = np.zeros((policy.spec.horizon, policy.spec.action.dims), np.float32)
    infer(policy, one, actions)
    if isinstance(policy, tokens.Runner):
        logits = policy.graphs[policy.first].outputs["logits"][0].copy()
        return {"tokens": policy.tokens.copy(), "logits": logits}
    return {"actions": policy.normalised.copy()}


def infer(policy: GraphPolicy, one: Example, actions: np.ndarray[Any, Any]) -> None:
    """One inference, with the example's noise where there is a flow."""
    if isinstance(policy, flow.Runner):
        policy.infer(one.observation, actions, one.noise)
    else:
        policy.infer(one.observation, actions)


def timed(policy: GraphPolicy, watch: Stopwatch, given: list[Example], replays: int) -> dict[str, Any]:
    """Times in ms, by CUDA's events, from launch to wait, and from an observation to its actions on the CPU."""
    actions = np.zeros((policy.spec.horizon, policy.spec.action.dims), np.float32)
    by_events, by_clock, whole = list[float](), list[float](), list[float]()
    for i in range(WARM_UP + replays):
        began = time.perf_counter_ns()
        infer(policy, given[i % len(given)], actions)
        whole.append((time.perf_counter_ns() - began) / 1e6)
        events, wall = watch.read()
        by_events.append(events)
        by_clock.append(wall)
    figures = {"events_ms": by_events, "wall_ms": by_clock, "infer_ms": whole}
    return {name: summary(values[WARM_UP:]) for name, values in figures.items()}
