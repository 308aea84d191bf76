"""Is the bundle what the checkpoint computes? Every graph is loaded again and run as a robot runs it, beside PyTorch.

The same seed must match, another seed must not, and nothing may be NaN or infinite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from edge_runtime.policies.base import Observation, Prompt
from edge_runtime.policies.flow import Runner
from export.checkpoint import Checkpoint
from export.errors import ExportError
from export.graphs import ImageGraph, flow_constants
from export.models.pi0 import Pi0

FLOAT32_GATE = 1e-4
"""Largest error, as a part of the reference's largest value (or of 1 where that is smaller)."""
SEEDS = (0, 1)


class Measure(msgspec.Struct, frozen=True):
    """Bundle against PyTorch over all seeds. Errors are in `unit`; the gate holds `max_error` divided by `scale`."""

    unit: str
    cosine: float
    max_error: float
    mean_error: float
    scale: float
    gate: float
    verdict: Literal["pass", "fail"]


class Accuracy(msgspec.Struct, frozen=True):
    """accuracy.json."""

    verdict: Literal["pass", "fail"]
    reference: str
    seeds: tuple[int, ...]
    components: dict[str, Measure]
    end_to_end: Measure


@dataclass(frozen=True)
class Example:
    """One seeded input. With the second seed on, the last of several cameras is missing."""

    observation: Observation
    noise: NDArray[np.float32]


@dataclass(frozen=True)
class Outcome:
    """What one run left at each stage; prefix tensors hold valid positions only."""

    pixels: NDArray[np.float32]
    keys: NDArray[np.float32]
    values: NDArray[np.float32]
    velocity: NDArray[np.float32]
    actions_normalised: NDArray[np.float32]
    actions: NDArray[np.float32]


def example(checkpoint: Checkpoint, seed: int) -> Example:
    """Random frames, state, tokens and noise."""
    rng = np.random.default_rng(seed)
    config, state = checkpoint.config, checkpoint.state
    names = list(checkpoint.cameras)[: max(1, len(checkpoint.cameras) - seed)]
    frames = {n: rng.integers(0, 256, (*checkpoint.cameras[n], 3), np.uint8) for n in names}
    raw = rng.standard_normal(len(state.names))
    if state.mean:
        raw = raw * np.asarray(state.std) + np.asarray(state.mean)
    tokens = rng.integers(0, config.vocab, checkpoint.max_tokens)
    mask = np.arange(checkpoint.max_tokens) <= rng.integers(0, checkpoint.max_tokens)
    noise = rng.standard_normal((config.horizon, config.action_padded), np.float32)
    return Example(Observation(frames, raw.astype(np.float32), Prompt("", tokens, mask)), noise)


@torch.no_grad()
def in_torch(model: Pi0, image: ImageGraph, checkpoint: Checkpoint, given: Example) -> Outcome:
    """The reference: the same computation in PyTorch, float32."""
    seen, config = given.observation, checkpoint.config
    present = [name in seen.frames for name in checkpoint.cameras]
    black = {name: np.zeros((*size, 3), np.uint8) for name, size in checkpoint.cameras.items()}
    pixels = image(*(torch.from_numpy(frame) for frame in (black | dict(seen.frames)).values()))
    tokens, token_mask = torch.from_numpy(seen.prompt.tokens)[None], torch.from_numpy(seen.prompt.mask)[None]
    _, keys, values, mask = model.prefix(pixels, torch.tensor([present]), tokens, token_mask)
    state = torch.zeros(1, config.state_padded)
    state[0, : len(seen.state)] = torch.from_numpy(seen.state)
    if checkpoint.state.mean:
        mean, std = torch.tensor(checkpoint.state.mean), torch.tensor(checkpoint.state.std)
        state[0, : len(mean)] = (state[0, : len(mean)] - mean) / (std + checkpoint.state.eps)
    x = torch.from_numpy(given.noise)[None]
    velocity = torch.zeros_like(x)
    for cond in flow_constants(model, checkpoint.steps)[f"cond.{checkpoint.steps}"]:
        velocity = model.velocity(keys, values, mask, state, x, cond[None])
        x = x - velocity / checkpoint.steps
    normalised = x[0, :, : len(checkpoint.action.names)]
    actions = normalised
    if checkpoint.action.mean:
        actions = normalised * torch.tensor(checkpoint.action.std) + torch.tensor(checkpoint.action.mean)
    valid = mask[0]
    shown = pixels[0, torch.tensor(present)]
    stages = (shown, keys[:, 0][:, :, valid], values[:, 0][:, :, valid], velocity[0], normalised, actions)
    return Outcome(*(stage.numpy() for stage in stages))


def in_bundle(runner: Runner, checkpoint: Checkpoint, given: Example) -> Outcome:
    """What the robot will compute."""
    actions = np.empty((checkpoint.config.horizon, len(checkpoint.action.names)), np.float32)
    runner.infer(given.observation, actions, given.noise)
    image, prefix, step = runner.graphs["image"], runner.graphs["prefix"], runner.graphs["step"]
    present = [name in given.observation.frames for name in checkpoint.cameras]
    valid = prefix.outputs["prefix_mask"][0]
    return Outcome(
        pixels=image.outputs["pixels"][0, present],
        keys=prefix.outputs["keys"][:, 0][:, :, valid],
        values=prefix.outputs["values"][:, 0][:, :, valid],
        velocity=step.outputs["velocity"][0].copy(),
        actions_normalised=step.inputs["x_t"][0, :, : len(checkpoint.action.names)].copy(),
        actions=actions,
    )


def verify(model: Pi0, image: ImageGraph, checkpoint: Checkpoint, runner: Runner) -> Accuracy:
    """Hold `runner` against `model` on every seed. Raise `ExportError` that names the first component that fails."""
    given = [example(checkpoint, seed) for seed in SEEDS]
    wanted = [in_torch(model, image, checkpoint, g) for g in given]
    got = [in_bundle(runner, checkpoint, g) for g in given]
    components = {
        name: measure([(getattr(g, name), getattr(w, name)) for g, w in zip(got, wanted, strict=True)], FLOAT32_GATE)
        for name in ("pixels", "keys", "values", "velocity", "actions_normalised")
    }
    units = checkpoint.action.units or "the robot's units"
    spread = float(np.max(checkpoint.action.std, initial=0.0)) or 1.0
    end_to_end = measure(
        [(g.actions, w.actions) for g, w in zip(got, wanted, strict=True)], FLOAT32_GATE, units, spread
    )
    for name, found in {**components, "actions": end_to_end}.items():
        if found.verdict != "pass":
            raise ExportError(
                f"{name}: the bundle is {found.max_error:.3g} {found.unit} away from PyTorch, the gate is "
                f"{found.gate * found.scale:.3g} (cosine {found.cosine:.6f}); nothing was written"
            )
    if measure([(got[0].actions_normalised, wanted[1].actions_normalised)], FLOAT32_GATE).verdict == "pass":
        raise ExportError("actions: another input gives the same ones, so comparing them proves nothing")
    return Accuracy("pass", f"PyTorch {torch.__version__} float32", SEEDS, components, end_to_end)


def measure(
    pairs: list[tuple[NDArray[np.float32], NDArray[np.float32]]], gate: float, unit: str = "", least_scale: float = 1.0
) -> Measure:
    """Compare (found, reference) arrays. What is not finite fails."""
    a, b = (np.concatenate([np.ravel(p[i]) for p in pairs]).astype(np.float64) for i in (0, 1))
    finite = bool(np.isfinite(a).all() and np.isfinite(b).all())
    error = np.abs(a - b) if finite else np.full(1, np.inf)
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    scale = max(least_scale, float(np.abs(b).max()))
    passed = finite and float(error.max()) <= gate * scale
    return Measure(
        unit=unit,
        cosine=float(a @ b) / norm if finite and norm > 0 else 0.0,
        max_error=float(error.max()),
        mean_error=float(error.mean()),
        scale=scale,
        gate=gate,
        verdict="pass" if passed else "fail",
    )
