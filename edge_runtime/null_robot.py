"""A robot that is not there, for a policy that has something to look at: stored pictures and a null bus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_runtime import config
from edge_runtime.bundle_spec import PolicySpec, VectorSpec
from edge_runtime.errors import BundleError
from edge_runtime.footage import Take
from edge_runtime.limits import Floats
from edge_runtime.policies.affine import Affine

RATE_HZ = 100.0
LATE_FRAMES = 2.5
"""A frame is late after so many periods of the footage, where that is more than a robot's usual limit."""
LATE_CHUNKS = 3.5
"""The same for the frame behind the running chunk."""
STUCK_MS = 10_000.0
"""Nothing can be broken: a machine that is busy with something else is no reason to end."""
HUNG_MS = 60_000.0
"""Nor is a policy that takes so long on a computer that is no robot's."""
_SIGMAS = 4.0
"""How far from its mean an action may be; one between two statistics is at most at those, in the model's units 1."""


def describe(spec: PolicySpec, takes: Sequence[Take], rate_hz: float, bundle: Path, socket: Path) -> config.Robot:
    """A robot that the policy fits and that holds nothing back.

    Joint ranges span the footage's states and actions and what the policy itself may ask for, with as much room again;
    velocity, acceleration and jerk let a joint cross its range, three spans, from rest to rest in one control tick: the
    way d in time T takes three pieces of jerk 27·d/T³, -54·d/T³ and 27·d/T³ (`Guard`). Raises `BundleError` for a
    policy whose states and actions are not of the same joints.
    """
    if spec.state.dims != spec.action.dims:
        raise BundleError(
            f"{bundle}: states of {spec.state.dims} and actions of {spec.action.dims} dimensions: "
            "the null arm has one joint for both"
        )
    period_ms = 1e3 / rate_hz
    usual = config.Deadlines()
    return config.Robot(
        name="replay",
        policy=config.Policy(bundle=str(bundle)),
        cameras=tuple(
            config.Camera(name=c.name, kind="images", device="play", width=c.width, height=c.height, fps=rate_hz)
            for c in spec.cameras
        ),
        buses=(config.Bus(name="null", kind="null", port="follow", joints=_joints(spec, takes)),),
        motion=config.Motion(seam="none"),  # what the policy asks for, not what would become of it on an arm
        control=config.Control(rate_hz=RATE_HZ, socket=str(socket)),
        deadlines=config.Deadlines(
            frame_age_ms=max(usual.frame_age_ms, LATE_FRAMES * period_ms),
            frozen_ms=0.0,  # the footage does not know how this arm moves
            chunk_age_ms=max(usual.chunk_age_ms, LATE_CHUNKS * period_ms),
            stuck_ms=STUCK_MS,
            hung_ms=HUNG_MS,
        ),
        episode=config.Episode(timeout_s=86_400.0),
        black_box=config.BlackBox(folder=""),
    )


def _joints(spec: PolicySpec, takes: Sequence[Take]) -> tuple[config.Joint, ...]:
    raw = np.concatenate([take.state for take in takes])
    states = raw * _rad(spec.state)
    actions = np.concatenate([*(take.action for take in takes), _asked(spec, raw)]) * _rad(spec.action)
    seen = np.concatenate([states, actions])
    low, high = seen.min(axis=0), seen.max(axis=0)
    span = np.maximum(high - low, 1e-3)
    return tuple(
        config.Joint(
            name=name.removesuffix(".pos"),
            id=index,
            model="null",
            position=(float(low[index] - span[index]), float(high[index] + span[index])),
            velocity=3 * float(span[index]) * RATE_HZ,
            acceleration=3 * 9 * float(span[index]) * RATE_HZ**2,
            jerk=3 * 54 * float(span[index]) * RATE_HZ**3,
            following=3 * float(span[index]),  # it shows what was recorded, whatever it is told
            start=float(states[0, index]),
            park=float(states[0, index]),
        )
        for index, name in enumerate(spec.action.names)
    )


def _rad(vector: VectorSpec) -> Floats:
    """Radians in one unit of each dimension [n]; what is in no angle's unit counts as radians."""
    return np.array([np.pi / 180.0 if unit == "deg" else 1.0 for unit in vector.units])


def _asked(spec: PolicySpec, states: Floats) -> Floats:
    """[k, dims] the ends of what the policy may ask for in `states` [T, dims], as far as its normalisation says it."""
    normalisation = spec.action_normalisation
    if normalisation.kind == "none":
        return np.zeros((0, spec.action.dims))
    reach = _SIGMAS if normalisation.kind == "mean_std" else 1.0
    ends = np.repeat([[-reach], [reach]], spec.action.dims, axis=1)
    Affine(normalisation, spec.action.dims, rows=2).back(ends, ends)
    if any(spec.relative):
        ends += np.stack([states.min(axis=0), states.max(axis=0)]) * np.asarray(spec.relative)
    return ends
