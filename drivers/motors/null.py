"""A bus without motors: it writes down every command and answers states that it was told to answer.

`port` says what the states are:

    "follow"        each motor is where it was last commanded while its torque was on; at first at zero, or at the end
                    of its range that is nearest to zero
    "FILE.npy@HZ"   what FILE holds, float [T, motors] in radians, HZ rows a second from `connect` on, then the last row
                    for good; commands change nothing

`play` gives it other states at any time. Health is that of a motor at rest in a room: no current, 25 °C, 12 V. Nothing
here knows what a figure means: commands that are no joint angles (hand steps of a dataset) are as good as any within
the motors' ranges.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.errors import Disconnected, DriverError, ProtocolError, Timeout
from drivers.motors.base import BusSettings, Floats, Identity, MotorBus

_FIRST_ROOM = 4096


@dataclass(frozen=True)
class Commands:
    """What was written to a bus, in order."""

    t_ns: NDArray[np.int64]
    """[N] CLOCK_MONOTONIC"""
    position_rad: Floats
    """[N, motors]"""


class Bus(MotorBus):
    """The null bus. `commands` gives the record; `torque_on` and `goal_rad` [n] are what its motors would have."""

    TORQUE_LIMIT = True  # motors that are not there push with none

    def __init__(self, settings: BusSettings) -> None:
        super().__init__(settings)
        n = len(settings.motors)
        self._range: Floats = np.array([m.range_rad for m in settings.motors]).T
        self.torque_on = np.zeros(n, bool)
        self.goal_rad: Floats = np.clip(np.zeros(n), *self._range)
        self._connected = False
        self._script: _Script | None = None
        self._at: Floats = self.goal_rad.copy()
        self._count = 0
        self._t_ns = np.zeros(_FIRST_ROOM, np.int64)
        self._position: Floats = np.zeros((_FIRST_ROOM, n))

    def commands(self) -> Commands:
        """Every command so far: copies, to keep."""
        return Commands(self._t_ns[: self._count].copy(), self._position[: self._count].copy())

    def forget(self) -> None:
        """Begin the record of commands anew."""
        self._count = 0

    def play(self, rows: Floats, rate_hz: float, start_ns: int) -> None:
        """Answer `rows` [T, motors] from `start_ns` (CLOCK_MONOTONIC) on: until then the first, after them the last."""
        self._script = _Script(rows, rate_hz, start_ns)

    def check(self) -> None:
        super().check()
        if self.settings.port != "follow":
            _place(self.settings)

    def connect(self, deadline_ns: int) -> None:
        if self.settings.port != "follow" and self._script is None:
            self.play(*_load(self.settings), time.monotonic_ns())
        self._connected = True
        self.state.temperature_c[:] = 25.0
        self.state.voltage_v[:] = 12.0
        self.read_state(deadline_ns)

    def identify(self, index: int, deadline_ns: int) -> Identity:
        self._in_time(deadline_ns)
        return Identity(self.settings.motors[index].model, "", 0)

    def center(self, index: int, deadline_ns: int) -> None:
        """There is no encoder whose middle could be moved."""
        self._in_time(deadline_ns)
        if self.torque_on[index]:
            name = self.settings.motors[index].name
            raise ProtocolError(f"bus {self.settings.name}: {name} has its torque on: switch it off to center it")

    def aim(self, deadline_ns: int) -> bool:
        self._stay(self.torque_on, deadline_ns)
        return bool(self.torque_on.any())

    def enable_torque(self, deadline_ns: int) -> None:
        self._stay(np.ones_like(self.torque_on), deadline_ns)

    def disable_torque(self, deadline_ns: int) -> None:
        self._in_time(deadline_ns)
        self.torque_on[:] = False

    def write_setpoints(self, position_rad: Floats, deadline_ns: int) -> None:
        now_ns = self._in_time(deadline_ns)
        if not np.isfinite(position_rad).all():
            name = self.settings.motors[int(np.argmin(np.isfinite(position_rad)))].name
            raise DriverError(f"bus {self.settings.name}: the setpoint of {name} is no number; nothing was sent")
        np.clip(position_rad, *self._range, out=self.goal_rad)
        if self._count == len(self._t_ns):
            self._t_ns = np.concatenate([self._t_ns, np.zeros_like(self._t_ns)])
            self._position = np.concatenate([self._position, np.zeros_like(self._position)])
        self._t_ns[self._count] = now_ns
        self._position[self._count] = self.goal_rad
        self._count += 1
        np.copyto(self._at, self.goal_rad, where=self.torque_on)

    def read_state(self, deadline_ns: int) -> None:
        now_ns = self._in_time(deadline_ns)
        state = self.state
        if self._script is not None:
            self._script.at(now_ns, state.position_rad, state.velocity_rad_s)
        else:
            if now_ns > state.stamp_ns > 0:
                np.subtract(self._at, state.position_rad, out=state.velocity_rad_s)
                state.velocity_rad_s *= 1e9 / (now_ns - state.stamp_ns)
            state.position_rad[:] = self._at
        state.stamp_ns = now_ns

    def read_health(self, index: int, deadline_ns: int) -> None:  # noqa: ARG002 (every motor is equally well)
        self._in_time(deadline_ns)

    def safe_action(self, deadline_ns: int) -> None:
        self._stay(self.torque_on & [motor.safe == "hold" for motor in self.settings.motors], deadline_ns)

    def disconnect(self) -> None:
        self._connected = False

    def _stay(self, torque_on: NDArray[np.bool_], deadline_ns: int) -> None:
        """Goals where the motors are, and torque as given."""
        self.read_state(deadline_ns)
        self.goal_rad[:] = self.state.position_rad
        self.torque_on[:] = torque_on

    def _in_time(self, deadline_ns: int) -> int:
        if not self._connected:
            raise Disconnected(f"bus {self.settings.name}: not connected")
        now_ns = time.monotonic_ns()
        if now_ns > deadline_ns:
            raise Timeout(f"bus {self.settings.name}: asked {(now_ns - deadline_ns) / 1e6:.1f} ms after the deadline")
        return now_ns


class _Script:
    """States at a rate."""

    def __init__(self, rows: Floats, rate_hz: float, start_ns: int) -> None:
        self._rows = rows
        self._velocity: Floats = np.diff(rows, axis=0, append=rows[-1:]) * rate_hz
        self._rate_hz = rate_hz
        self._start_ns = start_ns

    def at(self, now_ns: int, position_rad: Floats, velocity_rad_s: Floats) -> None:
        """The row that is due; its velocity is that towards the next."""
        row = min(int((now_ns - self._start_ns) * self._rate_hz // 1e9), len(self._rows) - 1)
        position_rad[:] = self._rows[max(row, 0)]
        velocity_rad_s[:] = self._velocity[row] if row >= 0 else 0.0


def _place(settings: BusSettings) -> tuple[str, float]:
    """The two parts of "FILE.npy@HZ"."""
    file, _, rate = settings.port.rpartition("@")
    try:
        rate_hz = float(rate)
    except ValueError:
        rate_hz = 0.0
    if not file or not 0 < rate_hz < 1e6:
        raise Disconnected(f'bus {settings.name}: port {settings.port!r} is neither "follow" nor "FILE.npy@HZ"')
    return file, rate_hz


def _load(settings: BusSettings) -> tuple[Floats, float]:
    """What "FILE.npy@HZ" says: rows and their rate."""
    bus, n = f"bus {settings.name}", len(settings.motors)
    file, rate_hz = _place(settings)
    try:
        rows = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Disconnected(f"{bus}: {file}: {getattr(error, 'strerror', None) or 'not an .npy file'}") from error
    if not isinstance(rows, np.ndarray) or rows.dtype.kind != "f" or rows.ndim != 2 or rows.shape[1] != n:
        raise Disconnected(f"{bus}: {file} is not one array of floats [T, {n}], a figure for each motor")
    if len(rows) == 0 or not np.isfinite(rows).all():
        raise Disconnected(f"{bus}: {file} is empty or holds figures that are not finite")
    return rows.astype(np.float64), rate_hz
