"""Random states of the workplace to learn from: layouts with the arm anywhere a policy may find itself.

The teacher labels any state, so states need no physics: they are points of the teacher's own way with noise on them,
points round about a cup, grasps and lifts of the right and the wrong cup, and points anywhere.
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.demo.teacher import CLEAR_M, DT_S, GRASP_M, OPEN_RAD, Grip
from drivers.sim import arm, contact
from drivers.sim.arm import Floats
from drivers.sim.cups import AZIMUTH_RAD, CUP_HEIGHT_M, CUP_RADIUS_M, RADIUS_M, Cup, layout
from drivers.sim.render import Scene

GRIP_RAD = CUP_RADIUS_M / arm.HALF_GAP_M_PER_RAD


def sample(seed: int) -> tuple[Scene, int | None]:
    """A scene, and the index of the cup in the gripper, if any."""
    rng = np.random.default_rng([seed, 3])
    while True:
        cups = layout(rng)
        q, held = _state(rng, cups)
        if held is not None or not _collides(q, cups):
            return Scene(seed % (1 << 31), int(rng.integers(60_000)), q, tuple(cups)), held


def _state(rng: np.random.Generator, cups: list[Cup]) -> tuple[Floats, int | None]:
    cup = cups[int(rng.integers(len(cups)))]
    kind = rng.choice(5, p=[0.40, 0.20, 0.12, 0.18, 0.10])
    if kind == 0:
        return _joints(rng, *_on_the_way(rng, cup), 0.008), None
    if kind == 1:  # low, about a cup
        z = rng.uniform(GRASP_M - 0.015, CLEAR_M + 0.02)
        spread = 0.012 if z < CLEAR_M - 0.02 else 0.025
        tip = np.array([*(cup.position[:2] + rng.normal(0, spread, 2)), z])
        return _joints(rng, tip, rng.uniform(GRIP_RAD, 1.08), 0.0), None
    if kind == 2:  # closing
        tip = np.array([*(cup.position[:2] + rng.normal(0, 0.007, 2)), rng.normal(GRASP_M, 0.005)])
        return _joints(rng, tip, rng.uniform(GRIP_RAD, 1.05), 0.0), None
    if kind == 3:  # held, from the table up
        tip = np.array([*cup.position[:2], GRASP_M + rng.normal(0, 0.006)])
        lift = max(rng.uniform(-0.03, 0.115), 0.0)
        offset = rng.normal(0, 0.003, 2)
        cup.position[:2] += offset
        cup.position[2] = lift
        tip[2] += lift
        cup.velocity[:] = 0.0
        return _joints(rng, tip, GRIP_RAD + rng.normal(0, 0.004), 0.0), cups.index(cup)
    return _joints(rng, _anywhere(rng), rng.uniform(0.0, 1.1), 0.02), None


def _anywhere(rng: np.random.Generator) -> Floats:
    radius, azimuth = rng.uniform(RADIUS_M[0] - 0.03, RADIUS_M[1] + 0.02), rng.uniform(-AZIMUTH_RAD, AZIMUTH_RAD) * 1.05
    return np.array([radius * math.cos(azimuth), radius * math.sin(azimuth), rng.uniform(0.10, 0.24)])


def _on_the_way(rng: np.random.Generator, cup: Cup) -> tuple[Floats, float]:
    """Grip point and gripper angle somewhere on the teacher's way to `cup`, or a little beside it."""
    start = np.array([0.20, 0.0, 0.20]) if rng.random() < 0.4 else _anywhere(rng)
    grip = Grip(start, 0.6 if rng.random() < 0.4 else rng.uniform(0.3, 1.05), held=False)
    for _ in range(int(rng.integers(0, 26))):
        before = np.array([grip.x, grip.y, grip.z]), grip.gripper
        for _ in range(5):
            grip.advance(cup.position, DT_S / 5)
        if grip.held:
            return before
    return np.array([grip.x, grip.y, grip.z]), min(grip.gripper, OPEN_RAD)


def _joints(rng: np.random.Generator, tip: Floats, gripper: float, noise_m: float) -> Floats:
    """Joints [6] for a grip point, with noise on it and small errors of tilt and roll."""
    tip = tip + rng.normal(0, 1, 3) * noise_m * (1.0, 1.0, 0.6)
    tip[2] = max(tip[2], contact.PAD_HALF_HEIGHT_M + 0.003)
    radius = math.hypot(tip[0], tip[1])
    tip[:2] *= min(max(radius, 0.12), 0.36) / radius
    q = np.append(arm.top_down(tip), gripper + rng.normal(0, 0.006))
    q[1:4] += rng.normal(0, 0.006, 3)
    q[4] += rng.normal(0, 0.03)
    return np.asarray(np.clip(q, arm.LOW_RAD, arm.HIGH_RAD))


def _collides(q: Floats, cups: list[Cup]) -> bool:
    pose = arm.forward(q)
    if pose.tip[2] - contact.PAD_HALF_HEIGHT_M > CUP_HEIGHT_M:
        return False
    half_gap = float(q[5]) * arm.HALF_GAP_M_PER_RAD
    for cup in cups:
        offset = cup.position - pose.tip
        along, across = float(offset @ pose.finger), float(offset @ pose.side)
        for sign in (1, -1):
            met = contact.touch(sign * along, across, half_gap, CUP_RADIUS_M)
            if met is not None and met.depth > 0.001:
                return True
    return False
