"""Where the tip is: against the simulated arm's own geometry, and against matrices multiplied from root to tip."""

from __future__ import annotations

import math
import random
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from drivers.sim import arm as sim
from edge_runtime.tip import Tip
from edge_runtime.urdf import UrdfJoint, chain

AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), None, (0.0, 0.0, -1.0), (1.0, 0.0, 0.0), (-0.6, 0.48, 0.64), None)


def odd(seed: int) -> list[UrdfJoint]:
    """Five turning joints and two fixed ones, in no tidy directions."""
    rng = random.Random(seed)

    def three(most: float) -> tuple[float, float, float]:
        return rng.uniform(-most, most), rng.uniform(-most, most), rng.uniform(-most, most)

    return [UrdfJoint(f"j{k}", three(0.3), three(3.0), axis, -9.0, 9.0) for k, axis in enumerate(AXES)]


def sim_arm() -> list[UrdfJoint]:
    with resources.as_file(resources.files("drivers.sim").joinpath("arm.urdf")) as path:
        return list(chain(Path(path), "grip_point"))


def turned(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues' rotation."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * cross @ cross


def multiplied(joints: list[UrdfJoint], q: list[float]) -> np.ndarray:
    rotation, at, angles = np.eye(3), np.zeros(3), iter(q)
    for joint in joints:
        at = at + rotation @ np.array(joint.xyz)
        for axis, angle in zip(np.eye(3)[::-1], joint.rpy[::-1], strict=True):
            rotation = rotation @ turned(axis, angle)
        if joint.axis is not None:
            rotation = rotation @ turned(np.array(joint.axis), next(angles))
    return at


def test_the_tip_is_where_the_simulator_has_it() -> None:
    tip, rng = Tip(sim_arm()), np.random.default_rng(1)
    for q in rng.uniform(-3.2, 3.2, (200, 5)):
        assert tip.at(q.tolist()) == pytest.approx(sim.tip_position(q), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_matrices_make_of_any_chain(seed: int) -> None:
    joints, rng = odd(seed), np.random.default_rng(seed)
    tip = Tip(joints)
    for q in rng.uniform(-3.2, 3.2, (20, 5)):
        assert tip.at(q.tolist()) == pytest.approx(multiplied(joints, q.tolist()), abs=1e-12)


def test_arms_of_the_simulated_arm() -> None:
    """The pan turns 0.03 m, two links and the tool about itself; the roll turns the tip about itself."""
    assert Tip(sim_arm()).arms_m == pytest.approx((0.53, 0.5, 0.3, 0.1, 0.0))


@pytest.mark.parametrize("seed", range(5))
def test_no_joint_moves_the_tip_farther_than_its_arm(seed: int) -> None:
    """Neither alone nor, as their second derivatives bound, together with one before it."""
    joints, rng, h = odd(seed), np.random.default_rng(seed), 1e-4
    tip = Tip(joints)
    for q in rng.uniform(-3.2, 3.2, (20, 5)):

        def at(*moved: tuple[int, float], q: np.ndarray = q) -> np.ndarray:
            other = q.copy()
            for k, angle in moved:
                other[k] += angle
            return np.array(tip.at(other.tolist()))

        for j, arm_m in enumerate(tip.arms_m):
            assert np.linalg.norm(at((j, h)) - at((j, -h))) / (2 * h) <= arm_m + 1e-6
            for i in range(j + 1):
                mixed = at((i, h), (j, h)) - at((i, h), (j, -h)) - at((i, -h), (j, h)) + at((i, -h), (j, -h))
                assert np.linalg.norm(mixed) / (4 * h * h) <= arm_m + 1e-6


def test_a_chain_without_joints_that_turn_has_a_tip() -> None:
    fixed = UrdfJoint("mount", (0.1, 0.2, 0.3), (0.0, 0.0, 0.0), None, 0.0, 0.0)
    assert Tip([fixed, fixed]).at([]) == pytest.approx((0.2, 0.4, 0.6))
