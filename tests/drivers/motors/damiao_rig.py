"""Simulated Damiao motors on a CAN bus, inside the test's own process."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from dataclasses import replace

import can

from drivers.damiao.frames import Frame
from drivers.motors.base import BusSettings, MotorSettings
from drivers.motors.damiao import Bus
from drivers.sim.can_wire import CanWire
from drivers.sim.damiao_device import DamiaoDevice
from tests.drivers.fake_joints import FakeJoints
from tests.drivers.motors.contract import Rig, motors

BUS_OFF = can.Message(arbitration_id=0x40, is_error_frame=True, dlc=8, data=bytes(8))
LINE_ERROR = can.Message(arbitration_id=0x20, is_error_frame=True, dlc=8, data=bytes(8))
"""CAN_ERR_BUSOFF, CAN_ERR_ACK (linux/can/error.h)."""


def arm(model: str = "dm4310") -> tuple[MotorSettings, ...]:
    """Six motors with gains, zero at their own zero."""
    return tuple(replace(m, zero_step=32768, stiffness=40.0, damping=1.5) for m in motors(model))


class DamiaoRig(Rig):
    """Motors, wire and driver. `heard` is what the motors were sent; `before` is sent ahead of each answer."""

    def __init__(
        self,
        settings: tuple[MotorSettings, ...] | None = None,
        ids: Sequence[int] = (),
        port: str = "",
    ) -> None:
        settings = settings or arm()
        port = port or f"virtual:{uuid.uuid4()}"
        self.joints = FakeJoints(len(ids) or len(settings))
        self.device = DamiaoDevice(self.joints, [settings[-1].model] * len(self.joints.position_rad), ids)
        self.bus = Bus(BusSettings("arm", port, 1_000_000, settings))
        self.heard: list[Frame] = []
        self.before: list[can.Message] = []
        self._lock = threading.Lock()
        self._plugged = True
        interface, _, channel = port.rpartition(":")
        self.wire = CanWire(interface or "socketcan", channel, self._feed)

    def silence(self, on: bool) -> None:
        self.device.faults.silence = on

    def drop(self, index: int) -> None:
        with self._lock:
            self.device.power(False, index)

    def unplug(self) -> None:
        """The controller leaves the bus, again and again: that is what the kernel reports."""
        self._plugged = False
        self.wire.send(BUS_OFF)

    def plug_in(self) -> None:
        self._plugged = True

    def supply(self, on: bool) -> None:
        with self._lock:
            self.device.power(on)

    def close(self) -> None:
        self.bus.disconnect()
        self.wire.close()

    def _feed(self, frame: Frame) -> list[Frame]:
        with self._lock:
            if not self._plugged:
                self.wire.send(BUS_OFF)
                return []
            self.heard.append(frame)
            answers = self.device.feed(frame)
            for message in self.before if answers else ():
                self.wire.send(message)
            return answers
