"""End-effector space: the state is where the tip is, actions say where it is to be or how far it is to go.

Deltas lead on from where the last chunk has brought the arm by now, not from where it is measured: a servo that hangs a
little below its setpoint would sink with every action. BridgeData's robot does the same (`_previous_target_qpos` in
rail-berkeley/bridge_data_robot, widowx_envs/base/robot_base_env.py).
"""

from __future__ import annotations

import math

import numpy as np
import pinocchio

from edge_runtime.bundle_spec import Normalisation, PolicySpec, PoseSpec, PoseVector
from edge_runtime.chunk import NO_REQUEST, Chunk
from edge_runtime.config import Robot
from edge_runtime.errors import UnreachablePose
from edge_runtime.kinematics import Arm, Pose, Residual
from edge_runtime.limits import Floats
from edge_runtime.policies.base import Floats as Numbers

LEAD_RAD = 0.2
"""How far the pose that deltas lead on from may be ahead of a measured joint: more than a servo lags and hangs, and no
more, so that an arm that is held back pushes no harder with every action."""


class PoseSpace:
    """`ActionSpace` of a policy whose `spec.pose` is `pose`. Raises `ConfigError` where arm and URDF do not fit."""

    def __init__(self, robot: Robot, spec: PolicySpec, pose: PoseSpec) -> None:
        self._arm = Arm(robot)
        self._gripper = _Gripper(robot)
        self._pose = pose
        self._delta = spec.control_mode == "delta"
        self._level = np.eye(3) if not pose.level else np.array(pose.level).reshape(3, 3)
        self._usual = _centre(spec.state_normalisation)[3:6] if pose.state else np.zeros(3)
        self._unreachable_m = robot.kinematics.unreachable_mm / 1e3
        self._missed = 0
        self._start: Floats = np.zeros(len(robot.joints))
        self._last = Chunk(spec.horizon + self._delta, len(robot.joints), round(spec.dt_s * 1e9), NO_REQUEST)
        """The chunk before, in its own buffer: the published one may be written anew."""
        self.rows = spec.horizon + self._delta

    def observe(self, measured_rad: Floats, state: Numbers) -> None:
        vector = self._pose.state
        if vector is None:
            return
        tip = self._arm.pose(measured_rad[self._arm.index])
        state[:3] = tip.translation / vector.metres
        state[3:6] = _told(vector, tip.rotation @ self._level.T, self._usual)
        state[6:] = self._gripper.told(vector, measured_rad)

    def plan(self, actions: Numbers, measured_rad: Floats, chunk: Chunk) -> None:
        rows, index = chunk.actions, self._arm.index
        if self._delta:
            chunk.start_ns, chunk.rests = chunk.ready_ns, True
            rows[0] = self._start_from(measured_rad, chunk)
            ahead = rows[1:]
        else:
            chunk.start_ns, chunk.rests = chunk.observed_ns, False
            ahead = rows
        before = rows[0] if self._delta else measured_rad
        q_rad, target = before[index], self._arm.pose(before[index])
        for row, action in zip(ahead, np.asarray(actions, dtype=np.float64), strict=True):
            target = self._target(target, action)
            self._judge(self._arm.solve(target, q_rad))
            row[:] = before
            row[index] = q_rad
            self._gripper.move(self._pose.action, action, row)
        self._last.keep(chunk.actions, chunk)

    def told(self, setpoint_rad: Floats, actions: Numbers) -> bool:
        """The pose of a setpoint is an action where actions are poses; a delta no single setpoint tells."""
        if self._delta:
            return False
        vector = self._pose.action
        tip = self._arm.pose(setpoint_rad[self._arm.index])
        actions[:, :3] = tip.translation / vector.metres
        actions[:, 3:6] = _told(vector, tip.rotation @ self._level.T, np.zeros(3))
        actions[:, 6:] = self._gripper.told(vector, setpoint_rad)
        return True

    def counts(self) -> dict[str, int]:
        return {"poses not reached": self._missed}

    def _start_from(self, measured_rad: Floats, chunk: Chunk) -> Floats:
        """Where the chunk before has brought the joints by the start of this one; without one, where they are."""
        if self._last.request != chunk.request:
            return measured_rad
        last = self._last
        k, rest_ns = divmod(max(0, chunk.start_ns - last.start_ns), last.dt_ns)
        if k >= len(last.rows) - 1:
            self._start[:] = last.rows[-1]
        else:
            self._start[:] = last.rows[k] + (last.rows[k + 1] - last.rows[k]) * (rest_ns / last.dt_ns)
        arm, measured = self._arm.index, measured_rad[self._arm.index]
        self._start[arm] = np.clip(self._start[arm], measured - LEAD_RAD, measured + LEAD_RAD)
        return self._start

    def _target(self, before: Pose, action: Floats) -> Pose:
        """The pose that one action asks for, `before` being the one that the action before it asked for."""
        vector = self._pose.action
        way, turn = vector.metres * action[:3], _rotation(vector, action[3:6])
        if not self._delta:
            return pinocchio.SE3(turn @ self._level, way)
        if self._pose.frame == "base":
            return pinocchio.SE3(turn @ before.rotation, before.translation + way)
        told = before.rotation @ self._level.T
        return pinocchio.SE3(told @ turn @ self._level, before.translation + told @ way)

    def _judge(self, residual: Residual) -> None:
        self._missed += not residual.reached
        if residual.position_m > self._unreachable_m:
            raise UnreachablePose(
                f"the policy asks for a pose that the arm gets no nearer than {residual.position_m * 1e3:.0f} mm to, "
                f"limit {self._unreachable_m * 1e3:g} mm"
            )


class _Gripper:
    """The joint that opens and closes, between its position and how far it is open: 0 to 1."""

    def __init__(self, robot: Robot) -> None:
        shape = robot.kinematics
        (self._index,) = (i for i, joint in enumerate(robot.joints) if joint.name == shape.gripper)
        low, high = robot.joints[self._index].position_rad
        self._closed, self._open = (low, high) if shape.gripper_open == "highest" else (high, low)

    def told(self, vector: PoseVector, measured_rad: Floats) -> Floats:
        """The gripper's numbers in the policy's state."""
        opening = (float(measured_rad[self._index]) - self._closed) / (self._open - self._closed)
        closed, opened = np.array(vector.closed), np.array(vector.open)
        told: Floats = closed + min(max(opening, 0.0), 1.0) * (opened - closed)
        return told

    def move(self, vector: PoseVector, action: Floats, row: Floats) -> None:
        """Write into `row` where the last number of `action` wants the joint."""
        opening = (float(action[6]) - vector.closed[0]) / (vector.open[0] - vector.closed[0])
        row[self._index] = self._closed + min(max(opening, 0.0), 1.0) * (self._open - self._closed)


def _rotation(vector: PoseVector, numbers: Floats) -> Floats:
    """Matrix [3, 3] of three numbers."""
    angles = vector.radians * numbers
    made: Floats = pinocchio.exp3(angles) if vector.rotation == "axis_angle" else pinocchio.rpy.rpyToMatrix(angles)
    return made


def _told(vector: PoseVector, rotation: Floats, usual: Floats) -> Floats:
    """The three numbers of a rotation, of all that mean it those nearest to what is usual for the policy.

    A tool that points straight down is half a turn away from one that points up, where +π and -π mean the same.
    """
    if vector.rotation == "axis_angle":
        return _turns(pinocchio.log3(rotation) / vector.radians, usual, 2.0 * math.pi / vector.radians)
    turn = 2.0 * math.pi / vector.radians
    angles: Floats = pinocchio.rpy.matrixToRpy(rotation) / vector.radians
    return angles + turn * np.round((usual - angles) / turn)


def _turns(rotation: Floats, usual: Floats, turn: float) -> Floats:
    """`rotation`, an axis times an angle, or the same with a whole turn more or less."""
    angle = float(np.linalg.norm(rotation))
    if angle < 1e-9:
        return rotation
    other: Floats = rotation * (1.0 - turn / angle)
    return min((rotation, other), key=lambda told: float(np.linalg.norm(told - usual)))


def _centre(norm: Normalisation) -> Floats:
    """The middle of what the policy was taught, per dimension."""
    if norm.kind == "none":
        return np.zeros(6)
    return np.array(norm.a) if norm.kind == "mean_std" else (np.array(norm.a) + np.array(norm.b)) / 2.0
