"""The simulated arm in fake time: a bus, a camera and a person's hand without ports, processes or waiting."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivers.motors.base import BusSettings, Floats, Identity, MotorBus
from drivers.sim.world import World
from edge_runtime.clock import FakeClock
from edge_runtime.sight import change

FRAME_NS = 33_333_333
STEP_NS = 1_000_000


class SimClock(FakeClock):
    """Sleeping steps the world, and `camera` takes a frame every 33 ms, from `offset_ns` on."""

    def __init__(self, world: World, camera: str = "", offset_ns: int = 7_000_000) -> None:
        super().__init__(1_000_000_000)
        self.world, self.camera = world, camera
        self.taken_ns: list[int] = []
        self.changes: list[float] = []
        self._next_ns = self._now_ns + offset_ns
        self._frames: list[NDArray[np.uint8]] = []

    def sleep_until(self, deadline_ns: int) -> None:
        while self._now_ns < deadline_ns:
            if self.camera and self._now_ns >= self._next_ns:
                self._take()
                self._next_ns += FRAME_NS
            self.world.step(STEP_NS * 1e-9)
            self._now_ns += STEP_NS

    def _take(self) -> None:
        frame = np.zeros((480, 640, 3), np.uint8)
        self.world.render(self.camera, frame)
        self.changes.append(change(self._frames[-1] if self._frames else frame, frame))
        self._frames = [frame]
        self.taken_ns.append(self._now_ns)


class WorldBus(MotorBus):
    """The world's joints as a bus that answers at once."""

    def __init__(self, settings: BusSettings, clock: SimClock) -> None:
        super().__init__(settings)
        self.clock, self.world = clock, clock.world
        self.safe = False

    def connect(self, deadline_ns: int) -> None:
        self.read_state(deadline_ns)

    def identify(self, index: int, deadline_ns: int) -> Identity:
        return Identity(self.settings.motors[index].model, "", 0)

    def center(self, index: int, deadline_ns: int) -> None: ...

    def aim(self, deadline_ns: int) -> bool:
        self.world.goal_rad[:] = self.world.position_rad
        return bool(self.world.torque_on.any())

    def enable_torque(self, deadline_ns: int) -> None:
        self.world.goal_rad[:] = self.world.position_rad
        self.world.torque_on[:] = True

    def disable_torque(self, deadline_ns: int) -> None:
        self.world.torque_on[:] = False

    def write_setpoints(self, position_rad: Floats, deadline_ns: int) -> None:
        self.world.goal_rad[:] = position_rad

    def read_state(self, deadline_ns: int) -> None:
        self.state.position_rad[:] = self.world.position_rad
        self.state.stamp_ns = self.clock.now_ns()

    def read_health(self, index: int, deadline_ns: int) -> None: ...

    def safe_action(self, deadline_ns: int) -> None:
        self.safe = True

    def disconnect(self) -> None: ...
