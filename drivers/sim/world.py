"""The simulated workplace: an arm, a table, two to four cups, some of which move slowly.

Stepped by whoever owns it, in multiples of 1 ms; no clock, no thread, and the same for the same seed and commands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from drivers.sim import arm, contact
from drivers.sim.arm import Floats
from drivers.sim.board import Board
from drivers.sim.cups import AZIMUTH_RAD, CUP_HEIGHT_M, CUP_KG, CUP_RADIUS_M, RADIUS_M, SPACING_M, Cup, layout
from drivers.sim.render import Scene, render
from drivers.sim.servos import Servos

SUBSTEP_S = 0.001
PHRASES = (
    "pick up the {} cup", "grasp the {} cup", "take the {} cup", "lift the {} cup", "grab the {} cup",
    "reach for the {} cup", "get the {} cup", "pick the {} cup up",
)  # fmt: skip
LIFTED_M, HELD_S = 0.04, 0.3
"""A task is done when the named cup has been held this high for this long."""
START_RAD = np.array([0.0, -0.13, 1.895, 1.377, 0.0, 0.6])


@dataclass(frozen=True)
class Snapshot:
    """The world at one instant, cheap to take and safe to render elsewhere."""

    scene: Scene

    def render(self, camera: str, out: NDArray[np.uint8]) -> None:
        """Draw `camera` ("base" or "wrist") into `out` uint8[480, 640, 3], RGB."""
        render(self.scene, camera, out)


class World:
    """One arm and its table. Write `goal_rad`, `torque_on` and `torque_limit`, call `step`, read the sensors."""

    JOINTS = arm.JOINTS

    def __init__(self, seed: int) -> None:
        self.servos = Servos()
        self.cups: list[Cup] = []
        self.board: Board | None = None
        """A calibration board that somebody holds in the cameras' sight."""
        self.hand_rad: Floats = np.full(len(self.JOINTS), np.nan)
        """Where a person's hand holds the joints of the limp arm; NaN where it does not."""
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """A new layout, the arm at its start pose without torque, time zero."""
        self.time_ms = 0
        self.servos.place(START_RAD)
        self._above = self.servos.shaft_rad.copy(), self.servos.link_rad.copy()
        """Shafts and links when the fingers were last above the table."""
        self.lay(seed)

    def lay(self, seed: int) -> None:
        """A new layout of cups under the arm as it stands; a cup in the gripper is taken away with the others."""
        self.seed = seed
        rng = np.random.default_rng(seed)
        self.gripped: int | None = None
        self.cups = layout(rng)
        self._phrases = [PHRASES[int(rng.integers(len(PHRASES)))] for _ in self.cups]
        self._grip_offset = (0.0, 0.0, 0.0)
        self._lifted_s = 0.0
        self._bottom_m = math.inf

    @property
    def goal_rad(self) -> Floats:
        """Position goals [6], written in place by whoever drives."""
        return self.servos.goal_rad

    @property
    def torque_on(self) -> NDArray[np.bool_]:
        """Torque switches [6], written in place by whoever drives."""
        return self.servos.torque_on

    @property
    def torque_limit(self) -> Floats:
        """Shares of the stall torque [6], written in place by whoever drives."""
        return self.servos.torque_limit

    @property
    def position_rad(self) -> Floats:
        """Encoder positions [6]."""
        return self.servos.position_rad

    @property
    def velocity_rad_s(self) -> Floats:
        return self.servos.velocity_rad_s

    @property
    def current_a(self) -> Floats:
        return self.servos.current_a

    @property
    def temperature_c(self) -> Floats:
        return self.servos.temperature_c

    @property
    def lifted(self) -> bool:
        """Whether a gripped cup is at least `LIFTED_M` above the table now."""
        return self.gripped is not None and bool(self.cups[self.gripped].position[2] >= LIFTED_M)

    def instruction_for(self, index: int) -> str:
        """How this episode's person asks for cup `index`."""
        return self._phrases[index].format(self.cups[index].colour)

    def success(self, colour: str) -> bool:
        """Whether the cup of this colour is held, high enough, and has been for long enough."""
        held = self.gripped is not None and self.cups[self.gripped].colour == colour
        return held and self._lifted_s >= HELD_S

    def snapshot(self) -> Snapshot:
        """What the cameras see now."""
        cups = tuple(replace(c, position=c.position.copy()) for c in self.cups)
        return Snapshot(Scene(self.seed, self.time_ms, self.servos.link_rad.copy(), cups, self.board))

    def render(self, camera: str, out: NDArray[np.uint8]) -> None:
        """Draw `camera` ("base" or "wrist") into `out` uint8[480, 640, 3], RGB."""
        self.snapshot().render(camera, out)

    def step(self, dt_s: float) -> None:
        """Let `dt_s` pass, a multiple of 1 ms."""
        steps = round(dt_s / SUBSTEP_S)
        for _ in range(steps):
            self.servos.step(SUBSTEP_S, 0.0 if self.gripped is None else CUP_KG)
            self.servos.held(self.hand_rad)
            self._touch()
        self.time_ms += steps
        self._drift(steps * SUBSTEP_S)
        self.servos.settle(steps * SUBSTEP_S)
        self._lifted_s = self._lifted_s + steps * SUBSTEP_S if self.lifted else 0.0

    def _touch(self) -> None:
        """Fingers against the table and the cups, after one substep."""
        q = self.servos.link_rad
        pan, lift, forearm = float(q[0]), float(q[1]), float(q[1] + q[2])
        tool, roll, half_gap = forearm + float(q[3]), float(q[4]), float(q[5]) * arm.HALF_GAP_M_PER_RAD
        radius = (
            arm.SHOULDER_RADIUS_M
            + arm.UPPER_M * math.sin(lift)
            + arm.FOREARM_M * math.sin(forearm)
            + arm.TOOL_M * math.sin(tool)
        )
        height = (
            arm.SHOULDER_HEIGHT_M
            + arm.UPPER_M * math.cos(lift)
            + arm.FOREARM_M * math.cos(forearm)
            + arm.TOOL_M * math.cos(tool)
        )
        bottom = height - contact.PAD_HALF_HEIGHT_M
        if bottom < 0.0:
            self._stop_on_table(forearm, tool, radius)
        else:
            self._above[0][:], self._above[1][:] = self.servos.shaft_rad, q
        x, y = radius * math.cos(pan), radius * math.sin(pan)
        heading = pan + math.pi / 2 - roll  # a tool pointing down turns against the pan
        u = (math.cos(heading), math.sin(heading))
        came_from, self._bottom_m = self._bottom_m, bottom
        if self.gripped is not None:
            self._carry(x, y, height, heading)
        if bottom < CUP_HEIGHT_M:
            for index, cup in enumerate(self.cups):
                if index != self.gripped and not cup.fallen:
                    self._meet(index, cup, x, y, u, half_gap, bottom, came_from)

    def _stop_on_table(self, forearm: float, tool: float, radius: float) -> None:
        """Put back each joint that has moved the fingers down, and those that turn them; one that lifts them is free.

        The shaft says which way, as its link follows behind the backlash; the figures are the height's derivatives.
        """
        lever_m = arm.TOOL_M * math.sin(tool)
        bent_m = lever_m + arm.FOREARM_M * math.sin(forearm)
        servos, (shaft_rad, link_rad) = self.servos, self._above
        for joint, height_m_per_rad in enumerate((0.0, arm.SHOULDER_RADIUS_M - radius, -bent_m, -lever_m, 0.0)):
            if (servos.shaft_rad[joint] - shaft_rad[joint]) * height_m_per_rad <= 0.0:
                servos.shaft_rad[joint], servos.link_rad[joint] = shaft_rad[joint], link_rad[joint]
                servos.velocity_rad_s[joint] = 0.0

    def _meet(
        self, index: int, cup: Cup, x: float, y: float, u: tuple[float, float], half_gap: float, bottom: float,
        came_from: float,
    ) -> None:  # fmt: skip
        """One standing cup and both fingers: grip, push or topple it.

        A push slides a cup at any height: on a smooth table (friction 0.2) its base (21 mm) is wide enough for that.
        """
        dx, dy = float(cup.position[0]) - x, float(cup.position[1]) - y
        if dx * dx + dy * dy > 0.02 or cup.position[2] > 0.0:
            return
        along, across = dx * u[0] + dy * u[1], -dx * u[1] + dy * u[0]
        plus = contact.touch(along, across, half_gap, CUP_RADIUS_M)
        minus = contact.touch(-along, across, half_gap, CUP_RADIUS_M)
        touching = [t for t in (plus, minus) if t is not None]
        if not touching:
            return
        if came_from >= CUP_HEIGHT_M and max(t.depth for t in touching) > contact.LANDING_M:
            self._topple(cup, dx, dy)
            return
        if plus is not None and minus is not None and self.gripped is None:
            deep_enough = bottom + contact.RIM_OVERLAP_M <= CUP_HEIGHT_M
            if deep_enough and contact.in_cone(plus) and contact.in_cone(minus):
                self._grip(index, along, across)
                return
        push_u = (plus.depth * plus.along if plus else 0.0) - (minus.depth * minus.along if minus else 0.0)
        push_v = sum(t.depth * t.across for t in touching)
        cup.position[0] += push_u * u[0] - push_v * u[1]
        cup.position[1] += push_u * u[1] + push_v * u[0]
        cup.velocity[:] = 0.0  # whatever carried it has lost its hold
        self._separate(index)

    def _grip(self, index: int, along: float, across: float) -> None:
        self.gripped = index
        cup = self.cups[index]
        cup.velocity[:] = 0.0
        tip = arm.tip_position(self.servos.link_rad)
        self._grip_offset = (along, across, float(cup.position[2] - tip[2]))
        self._grip_rad = float(self.servos.link_rad[5])

    def _carry(self, x: float, y: float, height: float, heading: float) -> None:
        """Move the gripped cup with the fingers; stop the fingers on it; let it go when they have opened."""
        assert self.gripped is not None
        cup, servos = self.cups[self.gripped], self.servos
        if servos.link_rad[5] > self._grip_rad + 0.04:
            self._release(cup)
            return
        if servos.shaft_rad[5] < self._grip_rad:
            servos.shaft_rad[5] = servos.link_rad[5] = self._grip_rad
            servos.velocity_rad_s[5] = 0.0
        along, across, below = self._grip_offset
        c, s = math.cos(heading), math.sin(heading)
        cup.position[:] = (x + along * c - across * s, y + along * s + across * c, max(height + below, 0.0))

    def _release(self, cup: Cup) -> None:
        """Open fingers: from low the cup stands where it was, from higher up it falls over."""
        self.gripped = None
        if cup.position[2] > 0.03:
            self._topple(cup, float(cup.position[0]), float(cup.position[1]))
        cup.position[2] = 0.0

    def _topple(self, cup: Cup, dx: float, dy: float) -> None:
        cup.fallen = True
        cup.fall_rad = math.atan2(dy, dx)
        cup.velocity[:] = 0.0

    def _separate(self, pushed: int) -> None:
        """A pushed cup pushes its neighbours."""
        one = self.cups[pushed]
        for index, other in enumerate(self.cups):
            if index in (pushed, self.gripped) or other.fallen:
                continue
            away = other.position[:2] - one.position[:2]
            distance = float(np.hypot(*away))
            if 1e-9 < distance < 2 * CUP_RADIUS_M:
                other.position[:2] += away * (2 * CUP_RADIUS_M / distance - 1.0)

    def _drift(self, dt_s: float) -> None:
        """Moving cups go on, and turn back at the region's edge and before another cup."""
        for index, cup in enumerate(self.cups):
            if index == self.gripped or not cup.moving:
                continue
            there = cup.position[:2] + cup.velocity[:2] * dt_s
            radius, azimuth = math.hypot(*there), math.atan2(there[1], there[0])
            others = [c.position[:2] for c in self.cups if c is not cup]
            crowded = any(
                math.hypot(*(there - o)) < min(SPACING_M - 0.01, math.hypot(*(cup.position[:2] - o))) for o in others
            )
            if crowded or not RADIUS_M[0] <= radius <= RADIUS_M[1] or abs(azimuth) > AZIMUTH_RAD:
                cup.velocity *= -1.0
            else:
                cup.position[:2] = there
