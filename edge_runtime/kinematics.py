"""Forward and inverse kinematics of one arm: its joints, from the URDF's root to the tip, and where they bring the tip.

Poses are `pinocchio.SE3` of the tip in the root link's frame: metres, rotation matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pinocchio
from numpy.typing import NDArray

from edge_runtime.arm_joints import arm_joints
from edge_runtime.config import Robot
from edge_runtime.limits import Floats
from edge_runtime.urdf import UrdfJoint

Pose = Any
"""pinocchio.SE3, whose package has no types."""

ROTATION_M = 0.01
"""A radian of rotation weighs as much as so many metres: position goes first: an arm of five joints whose tool is
0.1 rad away from what was asked is mostly within 0.1 mm of the position (docs/kinematics.md)."""
BIAS_M2 = 1e-9
"""Least damping, m²: keeps the equations solvable where the arm is singular and the error is zero."""
ITERATIONS = 40
"""At most, for one try: a bound on the time, not a figure of merit. A step of a policy takes two to four."""
STEP_RAD = 0.2
"""Longest way of a joint in one iteration, so that an arm does not fold over to another branch."""
STILL_RAD = 1e-6
"""Iterations end where no joint moves by more."""
NEAR_M = 1e-3
"""Position error above which a second try is made, and above which a pose counts as not reached."""
NUDGE = 0.05
"""Share of the way to the middle of their ranges that joints are moved before a second try."""
_ALIGNED = pinocchio.LOCAL_WORLD_ALIGNED


@dataclass(frozen=True)
class Residual:
    """What is left between a target and the nearest pose that was found."""

    position_m: float
    rotation_rad: float

    @property
    def reached(self) -> bool:
        """The position was; whether the rotation can be is a question of how many joints the arm has."""
        return self.position_m <= NEAR_M


class Arm:
    """The joints of `robot` that move its tip. Allocates the model once; one thread uses it.

    Raises `ConfigError`, one line, where robot.toml and the URDF do not fit together.
    """

    def __init__(self, robot: Robot) -> None:
        joints, index = arm_joints(robot)
        self.index: NDArray[np.intp] = np.array(index, dtype=np.intp)
        """Of every joint of the chain, root first: its place among the robot's joints."""
        self.lower_rad: Floats = np.array([robot.joints[i].position_rad[0] for i in self.index])
        self.upper_rad: Floats = np.array([robot.joints[i].position_rad[1] for i in self.index])
        self._model, self._tip = _model(joints, robot.kinematics.tip)
        self._data = self._model.createData()
        self._middle = (self.lower_rad + self.upper_rad) / 2.0
        self._error: Floats = np.zeros(6)
        self._unit: Floats = np.eye(len(self.index))

    def pose(self, q_rad: Floats) -> Pose:
        """Where the tip is at joint angles `q_rad` [n], in chain order."""
        pinocchio.framesForwardKinematics(self._model, self._data, q_rad)
        return self._data.oMf[self._tip].copy()

    def solve(self, target: Pose, q_rad: Floats) -> Residual:
        """Move `q_rad` [n] from where it is, in place, to where the tip is at `target`, or as near as it gets.

        Within the limits of robot.toml. Where the position is not reached, a second try starts from a slightly bent
        arm: at a stretched one no direction leads back (its Jacobian has none), although joints could move.
        """
        first = self._descend(target, q_rad)
        if first.reached:
            return first
        bent = np.clip(q_rad, self.lower_rad, self.upper_rad)
        bent += NUDGE * (self._middle - bent)
        second = self._descend(target, bent)
        if second.position_m >= 0.9 * first.position_m:
            return first
        q_rad[:] = bent
        return second

    def _descend(self, target: Pose, q_rad: Floats) -> Residual:
        """Levenberg-Marquardt with the error itself as damping (T. Sugihara, Solvability-Unconcerned Inverse Kinematics
        by the Levenberg-Marquardt Method, IEEE T-RO 27(5), 2011, eq. 21): (JᵀJ + (|e|²/2 + bias)·I)·Δq = Jᵀe.

        It needs no knowledge of whether there is a solution: far from the target, and beside a singular pose, steps are
        short, and beside a solution they are Newton's. A joint at its limit that would go beyond takes no part.
        """
        np.clip(q_rad, self.lower_rad, self.upper_rad, out=q_rad)
        best, least = q_rad.copy(), np.inf
        residual = Residual(np.inf, np.inf)
        for _ in range(ITERATIONS):
            jacobian = pinocchio.computeFrameJacobian(self._model, self._data, q_rad, self._tip, _ALIGNED)
            error, here = self._error, self._data.oMf[self._tip]
            np.subtract(target.translation, here.translation, out=error[:3])
            error[3:] = pinocchio.log3(target.rotation @ here.rotation.T)
            rotation_rad = float(np.sqrt(error[3:] @ error[3:]))
            position_m = float(np.sqrt(error[:3] @ error[:3]))
            error[3:] *= ROTATION_M
            jacobian[3:] *= ROTATION_M
            square = float(error @ error)
            if square < least:
                least, best[:], residual = square, q_rad, Residual(position_m, rotation_rad)
            step = self._step(jacobian, error, 0.5 * square + BIAS_M2, q_rad)
            longest = float(np.abs(step).max())
            if longest > STEP_RAD:
                step *= STEP_RAD / longest
            q_rad += step
            np.clip(q_rad, self.lower_rad, self.upper_rad, out=q_rad)
            if longest < STILL_RAD:
                break
        q_rad[:] = best
        return residual

    def _step(self, jacobian: Floats, error: Floats, damping: float, q_rad: Floats) -> Floats:
        """Δq [n], without the joints that stand at a limit and are pushed on."""
        while True:
            downhill = jacobian.T @ error
            step: Floats = np.linalg.solve(jacobian.T @ jacobian + damping * self._unit, downhill)
            stuck = ((q_rad <= self.lower_rad) & (step < 0.0)) | ((q_rad >= self.upper_rad) & (step > 0.0))
            if not stuck.any():
                return step
            jacobian[:, stuck] = 0.0


def _model(joints: tuple[UrdfJoint, ...], tip: str) -> tuple[Any, int]:
    """pinocchio's model of the chain, and the number of the tip's frame."""
    model, parent, placement = pinocchio.Model(), 0, pinocchio.SE3.Identity()
    for joint in joints:
        placement *= pinocchio.SE3(pinocchio.rpy.rpyToMatrix(*joint.rpy), np.array(joint.xyz))
        if joint.axis is not None:
            turning = pinocchio.JointModelRevoluteUnaligned(np.array(joint.axis))
            parent = model.addJoint(parent, turning, placement, joint.name)
            placement = pinocchio.SE3.Identity()
    return model, model.addFrame(pinocchio.Frame(tip, parent, placement, pinocchio.FrameType.OP_FRAME))
