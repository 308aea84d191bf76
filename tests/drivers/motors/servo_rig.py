"""Simulated servos behind a pseudo-terminal, inside the test's own process."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from drivers.motors.base import BusSettings, MotorSettings
from drivers.servos.bus import ServoBus
from drivers.sim.adapter import Adapter
from drivers.sim.device import Device, Reply
from drivers.sim.ports import PseudoTerminal
from tests.drivers.fake_joints import FakeJoints
from tests.drivers.motors.contract import Rig, motors


class ServoRig(Rig):
    """Servos, adapter and driver. `late_ns` holds answers back; `prefix` is sent before them; `heard` is what came."""

    BUS: ClassVar[type[ServoBus]]
    MODEL: ClassVar[str]
    OTHER_MODEL: ClassVar[str]
    REGISTERS: ClassVar[ModuleType]
    """Their register table."""
    TORQUE_LIMIT: ClassVar[str]
    OWN_TORQUE: ClassVar[str]
    """The register that says what a torque limit is a share of."""
    BAUD: ClassVar[int] = 1_000_000

    def __init__(
        self,
        folder: Path,
        settings: tuple[MotorSettings, ...] | None = None,
        ids: Sequence[int] = (),
        baud: int = 1_000_000,
    ) -> None:
        """`baud` is what robot.toml says; the servos speak at `BAUD`."""
        self.joints = FakeJoints(len(ids) or 6)
        self.device = self.make_device(ids)
        self.bus = self.BUS(BusSettings("arm", str(folder / "arm"), baud, settings or motors(self.MODEL)))
        self.late_ns = 0
        self.prefix = b""
        self.heard: list[bytes] = []
        self._path = folder / "arm"
        self._lock = threading.Lock()
        self._adapter: Adapter | None = None
        self.plug_in()

    def make_device(self, ids: Sequence[int]) -> Device[Any]:
        """The servos, with `joints`."""
        raise NotImplementedError

    def silence(self, on: bool) -> None:
        self.device.faults.silence = on

    def drop(self, index: int) -> None:
        with self._lock:
            self.device.power(False, index)

    def supply(self, on: bool) -> None:
        with self._lock:
            self.device.power(on)

    def unplug(self) -> None:
        if self._adapter is not None:
            self._adapter.close()
            self._adapter = None

    def plug_in(self) -> None:
        self._adapter = Adapter(
            PseudoTerminal(self._path, self.BAUD), self._feed, self.device.idle, self.BAUD, usb_latency_ns=0
        )

    def put(self, index: int, **counts: int) -> None:
        """Write registers of one servo by name, past everything that would refuse it."""
        for name, count in counts.items():
            self.device.servos[index].put(getattr(self.REGISTERS, name), count)

    def get(self, index: int, name: str) -> int:
        """What one servo's register holds."""
        return self.device.servos[index].get(getattr(self.REGISTERS, name))

    def inject(self, data: bytes) -> None:
        """Bytes that nobody asked for, there to be read when this returns."""
        assert self._adapter is not None
        self._adapter._hand_over(bytearray(data))
        time.sleep(0.02)

    def pass_time(self, seconds: float) -> None:
        """What the servos do by themselves in so many seconds of silence."""
        with self._lock:
            self.device.protect(seconds)

    def close(self) -> None:
        self.bus.disconnect()
        self.unplug()

    def _feed(self, data: bytes) -> list[Reply]:
        with self._lock:
            self.heard.append(data)
            replies = self.device.feed(data)
            extra = [Reply(self.prefix, 0)] if self.prefix and replies else []
            return extra + [Reply(r.packet, r.end_ns + self.late_ns) for r in replies]
