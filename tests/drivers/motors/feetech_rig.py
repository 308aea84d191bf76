"""Simulated Feetech servos behind a pseudo-terminal, inside the test's own process."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from drivers.motors.base import BusSettings, MotorSettings
from drivers.motors.feetech import Bus
from drivers.sim.adapter import Adapter
from drivers.sim.feetech_device import FeetechDevice, Reply
from tests.drivers.fake_joints import FakeJoints
from tests.drivers.motors.contract import Rig, motors


class FeetechRig(Rig):
    """Servos, adapter and driver. `late_ns` holds answers back; `prefix` is sent before them; `heard` is what came."""

    def __init__(
        self, folder: Path, settings: tuple[MotorSettings, ...] | None = None, ids: Sequence[int] = ()
    ) -> None:
        self.joints = FakeJoints(len(ids) or 6)
        self.device = FeetechDevice(self.joints, ids)
        self.bus = Bus(BusSettings("arm", str(folder / "arm"), 1_000_000, settings or motors("sts3215")))
        self.late_ns = 0
        self.prefix = b""
        self.heard: list[bytes] = []
        self._lock = threading.Lock()
        self._adapter: Adapter | None = Adapter(folder / "arm", self._feed, self.device.idle, usb_latency_ns=0)

    def silence(self, on: bool) -> None:
        self.device.faults.silence = on

    def drop(self, index: int) -> None:
        with self._lock:
            self.device.power(False, index)

    def unplug(self) -> None:
        if self._adapter is not None:
            self._adapter.close()
            self._adapter = None

    def inject(self, data: bytes) -> None:
        """Bytes that nobody asked for, there to be read when this returns."""
        assert self._adapter is not None
        self._adapter._hand_over(bytearray(data))
        time.sleep(0.02)

    def close(self) -> None:
        self.bus.disconnect()
        self.unplug()

    def _feed(self, data: bytes) -> list[Reply]:
        with self._lock:
            self.heard.append(data)
            replies = self.device.feed(data)
            extra = [Reply(self.prefix, 0)] if self.prefix and replies else []
            return extra + [Reply(r.packet, r.end_ns + self.late_ns) for r in replies]
