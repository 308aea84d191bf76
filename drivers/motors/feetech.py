"""Feetech STS servos on one serial line: goals leave in one sync write, positions and speeds come in one sync read."""

from __future__ import annotations

import struct

from drivers.feetech import packets, sts
from drivers.servos.bus import ServoBus
from drivers.servos.registers import names_of
from drivers.servos.setup import Family, Setup

_HALF_TURN = sts.STEPS_PER_TURN // 2
_SETUP = struct.Struct("<BBxHxxBxHH3xHB12xHB")
"""From address 0 on: firmware, model, return delay, lowest and highest position, most torque, phase, homing offset,
mode."""
_HEALTH = struct.Struct("<xxBBxBxxxH")
"""From PRESENT_LOAD on: voltage, temperature, status, current."""


class Bus(ServoBus):
    """The driver: what a `ServoBus` needs of the STS memory table."""

    FAMILY = Family(
        packets=packets,
        models=sts.MODEL_NUMBERS,
        bauds=sts.BAUDS,
        position_mode=sts.POSITION_MODE,
        steps_per_turn=sts.STEPS_PER_TURN,
        torque=sts.TORQUE_ENABLE,
        goal=sts.GOAL_POSITION,
        torque_limit=sts.TORQUE_LIMIT,
        position=sts.PRESENT_POSITION,
        speed=sts.PRESENT_SPEED,
        motion=(sts.PRESENT_POSITION.address, 4),
        health=(sts.PRESENT_LOAD.address, 12),
        setup=(0, 36),
    )
    MODELS, BAUDS = tuple(FAMILY.models), FAMILY.bauds

    def _setup(self, data: bytearray) -> Setup:
        major, minor, model, delay, low, high, most_torque, phase, homing, mode = _SETUP.unpack_from(data)
        coarse = 1 if phase & sts.SPEED_IN_STEPS else sts.COARSE_SPEED
        return Setup(
            model=model,
            firmware=f"{major}.{minor}",
            homing=sts.HOMING_OFFSET.decode(homing),
            mode=mode,
            low=low,
            high=high,
            most_torque=most_torque,
            rad_s_per_count=coarse * sts.RAD_PER_STEP,
            return_delay_s=delay * sts.RETURN_DELAY.scale,
        )

    def _take_health(self, index: int, data: bytearray, error: int, deadline_ns: int) -> None:  # noqa: ARG002
        volts, celsius, status, current = _HEALTH.unpack_from(data)
        state = self.state
        state.voltage_v[index] = volts * sts.PRESENT_VOLTAGE.scale
        state.temperature_c[index] = celsius * sts.PRESENT_TEMPERATURE.scale
        state.current_a[index] = abs(sts.PRESENT_CURRENT.decode(current)) * sts.PRESENT_CURRENT.scale
        status |= error
        if faults := names_of(status, sts.FAULTS):
            raise self._overload(index, f"{faults} ({state.voltage_v[index]:.1f} V, status 0x{status:02x})")

    def _homing_at_center(self, index: int, homing: int, position: int) -> int:  # noqa: ARG002
        """STS servos subtract it: position = encoder - offset. The register holds a sign and eleven bits."""
        offset = (position + homing) % sts.STEPS_PER_TURN - _HALF_TURN
        return max(offset, 1 - _HALF_TURN)

    def _keep_homing(self, index: int, homing: int, deadline_ns: int) -> None:
        ids = (self._ids[index],)
        self._tell_all(sts.LOCK, 0, ids, deadline_ns)
        try:
            self._tell_all(sts.HOMING_OFFSET, homing, ids, deadline_ns)
        finally:
            self._tell_all(sts.LOCK, 1, ids, deadline_ns)
