"""Forward and inverse kinematics of the simulated arm undo each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.sim import arm

REACHABLE = st.tuples(st.floats(0.16, 0.34), st.floats(-1.2, 1.2), st.floats(0.03, 0.20))


def place(radius: float, azimuth: float, height: float) -> np.ndarray:
    return np.array([radius * math.cos(azimuth), radius * math.sin(azimuth), height])


@given(REACHABLE)
def test_forward_undoes_inverse(at: tuple[float, float, float]) -> None:
    wanted = place(*at)
    q = np.append(arm.top_down(wanted), 0.5)
    pose = arm.forward(q)
    assert np.allclose(pose.tip, wanted, atol=1e-9)
    assert np.allclose(arm.tip_position(q), wanted, atol=1e-9)
    assert np.allclose(pose.approach, (0, 0, -1), atol=1e-9)
    assert np.allclose(pose.finger, pose.tangent)
    assert (q >= arm.LOW_RAD).all()
    assert (q <= arm.HIGH_RAD).all()


@given(st.floats(-1.5, 1.5), st.floats(0.0, 0.9), st.floats(0.4, 2.2))
def test_inverse_undoes_forward(pan: float, lift: float, elbow: float) -> None:
    q = np.array([pan, lift, elbow, math.pi - lift - elbow, 0.0])
    tip = arm.tip_position(q)
    if math.hypot(tip[0], tip[1]) > arm.SHOULDER_RADIUS_M:
        assert np.allclose(arm.top_down(tip), q, atol=1e-7)


@given(st.lists(st.floats(-1.0, 1.0), min_size=6, max_size=6))
def test_tool_axes_are_orthonormal(q: list[float]) -> None:
    pose = arm.forward(np.array(q))
    axes = np.stack([pose.approach, pose.finger, pose.side])
    assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.isclose(np.linalg.det(axes), 1.0)


def test_roll_turns_the_fingers_only() -> None:
    q = np.append(arm.top_down(np.array([0.25, 0.05, 0.1])), 0.5)
    turned = q.copy()
    turned[4] = math.pi / 2
    assert np.allclose(arm.forward(q).tip, arm.forward(turned).tip)
    assert abs(float(arm.forward(q).finger @ arm.forward(turned).finger)) < 1e-12


@pytest.mark.parametrize("at", [(0.60, 0.0, 0.1), (0.3, 0.3, 0.35)])
def test_out_of_reach_says_so(at: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="cannot reach"):
        arm.top_down(np.array(at))
