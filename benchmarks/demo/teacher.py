"""The scripted teacher: from the world's true state to an action chunk. Its input is never an input of the policy.

It is a rule for the grip point and the gripper that depends on nothing but where joints and cup are now: hover over
the cup, go down with open fingers, close, lift. A chunk is that rule integrated forward from the measured joints.
"""

from __future__ import annotations

import math

import numpy as np

from drivers.sim import arm
from drivers.sim.arm import Floats
from drivers.sim.servos import GAIN_NM_RAD, gravity_nm

HORIZON, DT_S = 16, 0.1
OPEN_RAD, CLOSED_RAD = 1.0, 0.42
CONTACT_RAD = 0.61
"""Gripper angle below which a cup between the fingers is held."""
GRASP_M, CLEAR_M, HOVER_M, LIFT_M = 0.050, 0.108, 0.128, 0.15
"""Grip point's height at the grasp, where the fingers clear every rim, on the way, and at the end."""
LEAD_S = 0.08
"""How far an action is ahead of where the joint should be: about the servos' lag."""
RESIDUAL_S = 0.25
"""Time constant in which tilt and roll are taken out."""
_STEP_S = 0.02


class Grip:
    """The rule's state: grip point (m), gripper angle (rad), whether the cup is held."""

    def __init__(self, tip: Floats, gripper: float, held: bool) -> None:
        self.x, self.y, self.z = (float(c) for c in tip)
        self.gripper, self.held = gripper, held

    def advance(self, cup: Floats, dt: float) -> float:
        """Move on by `dt` towards holding the cup whose base is at `cup` [3]; returns the gripper's command."""
        if self.held:
            self.z += min(max(LIFT_M - self.z, 0.0), 0.12 * dt)
            return CLOSED_RAD
        dx, dy = float(cup[0]) - self.x, float(cup[1]) - self.y
        distance = math.hypot(dx, dy)
        if distance < 0.014 and self.z < GRASP_M + 0.014:
            self._move(dx, dy, distance, 0.05 * dt)
            self.gripper -= 1.6 * dt
            self.held = self.gripper <= CONTACT_RAD
            return CLOSED_RAD if self.held else self.gripper
        self.gripper = min(self.gripper + 2.5 * dt, max(OPEN_RAD, self.gripper))
        straddling = distance < 0.018 and self.gripper > 0.8
        if straddling or self.z > CLEAR_M - 0.004:
            self._move(dx, dy, distance, min(0.26, 0.02 + 3.0 * distance) * dt)
        if distance < 0.02 and self.gripper > 0.9:
            goal = GRASP_M + (HOVER_M - GRASP_M) * min(max((distance - 0.008) / 0.012, 0.0), 1.0)
        else:
            goal = HOVER_M
        self.z += min(max(goal - self.z, -0.17 * dt), 0.22 * dt)
        return self.gripper

    def _move(self, dx: float, dy: float, distance: float, step: float) -> None:
        share = min(1.0, step / max(distance, 1e-9))
        self.x += dx * share
        self.y += dy * share


def chunk(q: Floats, cup: Floats, held: bool) -> Floats:
    """Joint targets [HORIZON, 6] due at 0, DT_S, 2·DT_S… from now: joints at `q` [6], cup's base at `cup` [3].

    `held`: whether this cup is in the gripper.
    """
    tip = arm.tip_position(q)
    grip = Grip(tip, float(q[5]), held)
    residual = q[:5] - arm.top_down(_reachable(tip))
    actions = np.empty((HORIZON, 6))
    done_s = 0.0
    command = float(q[5])
    for k in range(HORIZON):
        due_s = k * DT_S + LEAD_S
        while done_s < due_s - 1e-9:
            command = grip.advance(cup, _STEP_S)
            done_s += _STEP_S
        joints = arm.top_down(_reachable(np.array([grip.x, grip.y, grip.z]))) + residual * math.exp(-due_s / RESIDUAL_S)
        droop = gravity_nm(float(joints[1]), float(joints[2]), float(joints[3]), 0.0)
        joints[1:4] -= np.array(droop) / GAIN_NM_RAD[1:4]
        actions[k, :5], actions[k, 5] = joints, command
    return np.clip(actions, arm.LOW_RAD, arm.HIGH_RAD)


def _reachable(tip: Floats) -> Floats:
    """`tip` [3], pulled inside what the arm reaches with its tool down."""
    radius, z = max(math.hypot(tip[0], tip[1]), 1e-6), min(max(float(tip[2]), 0.02), 0.30)
    rise = z + arm.TOOL_M - arm.SHOULDER_HEIGHT_M
    outer = arm.SHOULDER_RADIUS_M + math.sqrt((0.985 * (arm.UPPER_M + arm.FOREARM_M)) ** 2 - rise**2)
    inner = arm.SHOULDER_RADIUS_M + 0.08
    scale = min(max(radius, inner), outer) / radius
    return np.array([tip[0] * scale, tip[1] * scale, z])
