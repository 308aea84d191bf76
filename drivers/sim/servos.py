"""Six servos on the arm's joints: position controllers with finite gain, torque and speed limits, and loads.

State is one float64[6] a quantity, stepped with semi-implicit Euler. Figures are those of a 12 V, 30 kg·cm hobby bus
servo (Feetech STS3215 class: 2.9 N·m stall, 4.7 rad/s no-load, 12-bit encoder), rotor and link inertia lumped.
"""

from __future__ import annotations

import math

import numpy as np

from drivers.sim.arm import FOREARM_M, HIGH_RAD, LOW_RAD, TOOL_M, UPPER_M, Floats

GAIN_NM_RAD = np.array([60.0, 60.0, 60.0, 40.0, 30.0, 20.0])
DAMPING_NM_S = np.array([2.4, 2.4, 2.4, 1.3, 0.8, 0.5])
INERTIA_KG_M2 = np.array([0.030, 0.030, 0.030, 0.012, 0.006, 0.004])
STALL_NM = np.full(6, 2.9)
NO_LOAD_RAD_S = 4.7
FRICTION_NM = np.array([0.08, 0.08, 0.08, 0.06, 0.05, 0.05])
UNPOWERED_FRICTION_NM = 1.0
"""What gears and shorted windings add without torque: the arm then sinks by about a degree a second."""
BACKLASH_RAD = 0.002
"""Half the play between the servo's shaft (which the encoder sees) and the link."""
STEP_RAD = 2 * math.pi / 4096
STALL_A, IDLE_A = 2.4, 0.06
AMBIENT_C, HEATING_C_S, COOLING_PER_S = 25.0, 0.55, 0.004
"""Full stall current warms by 0.55 °C/s; excess heat decays at 0.4 %/s."""
_UPPER_KG, _FOREARM_KG, _TOOL_KG, _G = 0.10, 0.09, 0.12, 9.81


def gravity_nm(lift: float, elbow: float, flex: float, payload_kg: float) -> tuple[float, float, float]:
    """Torque of gravity on the lift, elbow and wrist joints, positive where it drives the joint forward and down."""
    tool = (_TOOL_KG * 0.5 + payload_kg) * TOOL_M * math.sin(lift + elbow + flex)
    forearm = (_FOREARM_KG * 0.5 + _TOOL_KG + payload_kg) * FOREARM_M * math.sin(lift + elbow)
    upper = (_UPPER_KG * 0.5 + _FOREARM_KG + _TOOL_KG + payload_kg) * UPPER_M * math.sin(lift)
    return _G * (upper + forearm + tool), _G * (forearm + tool), _G * tool


class Servos:
    """The joints' state. Goals, torque and its limits are written by whoever drives; `step` moves time on."""

    def __init__(self) -> None:
        self.goal_rad: Floats = np.zeros(6)
        self.torque_on = np.zeros(6, dtype=bool)
        self.torque_limit: Floats = np.ones(6)
        """Shares of the stall torque."""
        self.shaft_rad: Floats = np.zeros(6)
        """Servo shafts, before the encoder's rounding."""
        self.link_rad: Floats = np.zeros(6)
        """Links, behind the backlash."""
        self.velocity_rad_s: Floats = np.zeros(6)
        self.current_a: Floats = np.zeros(6)
        self.temperature_c: Floats = np.full(6, AMBIENT_C)
        self._torque, self._limit, self._work = np.zeros(6), np.zeros(6), np.zeros(6)
        self._friction = FRICTION_NM + UNPOWERED_FRICTION_NM

    @property
    def position_rad(self) -> Floats:
        """What the encoders say: the shafts, rounded to 12 bits a turn."""
        return np.round(self.shaft_rad / STEP_RAD) * STEP_RAD

    def place(self, q: Floats) -> None:
        """Put the joints at `q` [6], at rest, cool, torque off, each goal at its position."""
        for array in (self.goal_rad, self.shaft_rad, self.link_rad):
            array[:] = q
        self.torque_on[:] = False
        self.velocity_rad_s[:] = 0.0
        self.current_a[:] = 0.0
        self.temperature_c[:] = AMBIENT_C

    def held(self, hand_rad: Floats) -> None:
        """A hand keeps the joints that have no torque at `hand_rad` [6]; NaN leaves one alone."""
        if np.isnan(hand_rad).all():
            return
        taken = ~np.isnan(hand_rad) & ~self.torque_on
        for array in (self.shaft_rad, self.link_rad):
            array[taken] = hand_rad[taken]
        self.velocity_rad_s[taken] = 0.0

    def step(self, dt_s: float, payload_kg: float) -> None:
        """Advance by one substep `dt_s` (at most 2 ms)."""
        torque, limit, work, velocity = self._torque, self._limit, self._work, self.velocity_rad_s
        np.subtract(self.goal_rad, self.shaft_rad, out=torque)
        torque *= GAIN_NM_RAD
        np.multiply(velocity, DAMPING_NM_S, out=work)
        torque -= work
        np.abs(velocity, out=limit)  # the motor's own voltage leaves less torque at speed
        limit *= -1.0 / NO_LOAD_RAD_S
        limit += 1.0
        np.maximum(limit, 0.1, out=limit)
        limit *= STALL_NM
        limit *= self.torque_limit
        np.minimum(torque, limit, out=torque)
        np.negative(limit, out=limit)
        np.maximum(torque, limit, out=torque)
        torque *= self.torque_on
        np.multiply(velocity, 30.0, out=work)
        np.tanh(work, out=work)
        work *= self._friction
        np.subtract(torque, work, out=work)
        link = self.link_rad
        lift, elbow, flex = gravity_nm(float(link[1]), float(link[2]), float(link[3]), payload_kg)
        work[1] += lift
        work[2] += elbow
        work[3] += flex
        work /= INERTIA_KG_M2
        work *= dt_s
        velocity += work
        np.multiply(velocity, dt_s, out=work)
        shaft = self.shaft_rad
        shaft += work
        if (shaft < LOW_RAD).any() or (shaft > HIGH_RAD).any():
            outside = (shaft < LOW_RAD) | (shaft > HIGH_RAD)
            np.clip(shaft, LOW_RAD, HIGH_RAD, out=shaft)
            velocity[outside] = 0.0
        np.subtract(shaft, BACKLASH_RAD, out=work)
        np.maximum(link, work, out=link)
        np.add(shaft, BACKLASH_RAD, out=work)
        np.minimum(link, work, out=link)

    def settle(self, dt_s: float) -> None:
        """What changes slowly, once for several substeps: friction, current from the torque, and `dt_s` of its heat."""
        np.multiply(~self.torque_on, UNPOWERED_FRICTION_NM, out=self._friction)
        self._friction += FRICTION_NM
        np.abs(self._torque, out=self.current_a)
        self.current_a *= STALL_A / STALL_NM
        self.current_a += IDLE_A
        heating = (self.current_a / STALL_A) ** 2 * HEATING_C_S - (self.temperature_c - AMBIENT_C) * COOLING_PER_S
        self.temperature_c += heating * dt_s
