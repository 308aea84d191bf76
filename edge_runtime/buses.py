"""Several motor buses as one arm: writes all, then reads all, and remembers which of them fails.

A cycle begins with its slot. Where all buses can say what they would send, an `Exchange` sends it and receives the
answers without the interpreter; Python does the whole of it otherwise, and what is left of it always.
A bus that fails in a cycle raises nothing here: its misses are counted, and the watchdog decides what they mean for the
whole arm. Outside the cycle (connecting, torque, the safe action) calls may take up to `ACTION_NS` each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from drivers.errors import Disconnected, DriverError, Overload, ProtocolError
from drivers.motors.base import Cycle, Identity, MotorBus
from edge_runtime.clock import Clock
from edge_runtime.exchange import Exchange
from edge_runtime.limits import Floats

ACTION_NS = 1_000_000_000
"""Longest time for one attempt of a call outside the cycle."""
CALLS = 5
"""Most calls that one bus gets in an action here: aim, switch on, read, watch, let go."""
ATTEMPTS = 3
"""How often the safe action is tried on a bus."""

Verify = Callable[[MotorBus, int], None]


class Line:
    """One bus, its part of the joint arrays, and how its serial cycles go."""

    def __init__(self, bus: MotorBus, part: slice, setpoint_rad: Floats, measured_rad: Floats) -> None:
        self.bus = bus
        self.name = bus.settings.name
        self.part = part
        """Where its joints are among all."""
        self.setpoint_rad = setpoint_rad[part]
        self.measured_rad = measured_rad[part]
        self.told = 0
        """How many of its joints, in their order, the last setpoint has reached: all, none, or some on a bus that tells
        one after another."""
        self.misses = 0
        """Cycles in a row that failed."""
        self.missed = 0
        """Cycles that failed in all."""
        self.health_missed = 0
        """Health reads that failed in all."""
        self.safe = False
        """It has confirmed the safe action, and nothing has changed since: again, and a joint would sag further."""
        self.gone = False
        """The port itself has gone: trying again is no use."""
        self.lost = ""
        """Why it was given up and cannot be had again: until it is connected anew and proved to be the same."""
        self.fault = ""
        """What a motor reports of itself: overload, overheating, voltage."""
        self.trouble = ""
        """What the last failed call said."""
        self._failed = False
        self._motors: tuple[Identity, ...] = ()

    @property
    def unsent(self) -> bool:
        """The last setpoint was not handed to all of its motors."""
        return self.told < len(self.setpoint_rad)

    @property
    def untold(self) -> slice:
        """The joints that it was not handed to, among all."""
        return slice(self.part.start + self.told, self.part.stop)

    def fail(self, error: DriverError) -> None:
        """A call of this cycle failed."""
        self._failed = True
        self.trouble = str(error)
        self.gone = isinstance(error, Disconnected)
        if isinstance(error, Overload):
            self.fault = self.trouble

    def close_cycle(self) -> None:
        """Count this cycle."""
        if self._failed:
            self.misses += 1
            self.missed += 1
            self._failed = False
        else:
            self.misses = 0

    def forget(self) -> None:
        """Start afresh: what went wrong has been dealt with."""
        self.misses, self.gone, self.lost, self.fault = 0, False, "", ""

    def recognise(self, deadline_ns: int) -> None:
        """Ask every motor who it is: the first time to know it, then whether it is the same. Raises `DriverError`."""
        motors = self.bus.settings.motors
        found = tuple(self.bus.identify(index, deadline_ns) for index in range(len(motors)))
        self._motors = self._motors or found
        for motor, before, now in zip(motors, self._motors, found, strict=True):
            if now != before:
                raise ProtocolError(
                    f"bus {self.name}: joint '{motor.name}' (id {motor.id}) was {_shown(before)} and is {_shown(now)}: "
                    "another motor, or calibrated anew: put the first one back, or start again"
                )

    def take_state(self) -> None:
        """Copy the bus's last answer into this line's part of `measured_rad`."""
        np.copyto(self.measured_rad, self.bus.state.position_rad)


class Buses:
    """All lines in joint order. `setpoint_rad` and `measured_rad` are [n] over all of them."""

    def __init__(
        self,
        buses: Sequence[MotorBus],
        clock: Clock,
        cycle_ns: int,
        verify: Verify | None = None,
        exchange: Exchange | None = None,
    ) -> None:
        """`verify` raises `DriverError` where a bus that has just been connected has motors that it must not have.

        `exchange` goes by the real time, whatever `clock` says.
        """
        sizes = [len(bus.settings.motors) for bus in buses]
        self._clock = clock
        self._verify = verify
        self._exchange = exchange
        self.began_ns = 0
        """When the slot of the last cycle had come."""
        self.sent_ns = 0
        """When its setpoints were handed over, or would have been."""
        self.ended_ns = 0
        self.setpoint_rad: Floats = np.zeros(sum(sizes))
        self.measured_rad: Floats = np.zeros(sum(sizes))
        self.heard: NDArray[np.bool_] = np.zeros(sum(sizes), dtype=np.bool_)
        """Whose position is from the last cycle."""
        self.current_a: Floats = np.zeros(sum(sizes))
        self.current_ns: NDArray[np.int64] = np.zeros(sum(sizes), dtype=np.int64)
        """When each current was told; 0 where it never was."""
        self.lines: list[Line] = []
        self._cycles: list[Cycle] = []
        begin = 0
        for bus, size in zip(buses, sizes, strict=True):
            self.lines.append(Line(bus, slice(begin, begin + size), self.setpoint_rad, self.measured_rad))
            begin += size
        self._share_ns = cycle_ns // (2 * len(buses))
        self._motors = [(line, index) for line in self.lines for index in range(len(line.bus.settings.motors))]
        self._next_motor = 0

    @property
    def velocity_rad_s(self) -> Floats:
        """[n], as the motors said last; put together where it is asked for, which few ticks do."""
        return np.concatenate([line.bus.state.velocity_rad_s for line in self.lines])

    def cycle(self, due_ns: int, write: bool, latest_ns: int) -> None:
        """Wait for the slot; send `setpoint_rad` if that is to be done; fill `measured_rad`.

        A setpoint whose turn comes after `latest_ns`, because the process stood still, is not sent.
        """
        if self._exchange is not None and (cycles := self._stage(write)):
            self._exchange.run(due_ns, latest_ns, cycles)
            self.began_ns, self.sent_ns, self.ended_ns = self._exchange.stamps
            self._finish(cycles, write and not self._too_late(latest_ns))
            return
        self._clock.sleep_until(due_ns)
        self.began_ns = self._clock.now_ns()
        if write and not self._too_late(latest_ns):
            self.write(self.began_ns)
        self.sent_ns = self._clock.now_ns()
        self.read(self.began_ns)
        self.ended_ns = self._clock.now_ns()

    def _too_late(self, latest_ns: int) -> bool:
        """Whether a setpoint for this slot was too old to be sent when it came."""
        late = self.began_ns > latest_ns
        if late:
            for line in self.lines:
                line.told = 0
        return late

    def _stage(self, write: bool) -> Sequence[Cycle] | None:
        """What every bus would send; None where one cannot say so, or cannot send."""
        cycles = self._cycles
        cycles.clear()
        try:
            for index, line in enumerate(self.lines):
                cycle = line.bus.stage(line.setpoint_rad if write else None)
                if cycle is None:
                    return None
                cycle.read_ns = self._share_ns * (len(self.lines) + index + 1)
                cycles.append(cycle)
        except DriverError:  # `write` and `read` meet it again, and count it
            return None
        return cycles

    def _finish(self, cycles: Sequence[Cycle], write: bool) -> None:
        """What `write` and `read` have left to do."""
        deadline_ns = self.began_ns
        for line, cycle in zip(self.lines, cycles, strict=True):
            deadline_ns += self._share_ns
            if write:
                self._send(line, partial(line.bus.finish_setpoints, cycle), deadline_ns)
        for line, cycle in zip(self.lines, cycles, strict=True):
            deadline_ns += self._share_ns
            self._hear(line, partial(line.bus.finish_state, cycle), deadline_ns)

    def write(self, start_ns: int) -> None:
        """Send `setpoint_rad`. Each call of a cycle has its share of the time: a silent bus starves no other."""
        deadline_ns = start_ns
        for line in self.lines:
            deadline_ns += self._share_ns
            self._send(line, partial(line.bus.write_setpoints, line.setpoint_rad), deadline_ns)

    def read(self, start_ns: int) -> None:
        """Fill `measured_rad`, and close the cycle that began at `start_ns`."""
        deadline_ns = start_ns + self._share_ns * len(self.lines)
        for line in self.lines:
            deadline_ns += self._share_ns
            self._hear(line, line.bus.read_state, deadline_ns)

    def _send(self, line: Line, send: Callable[[int], None], deadline_ns: int) -> None:
        try:
            send(deadline_ns)
            line.told = len(line.setpoint_rad)
        except DriverError as error:
            line.told = line.bus.told
            line.fail(error)

    def _hear(self, line: Line, hear: Callable[[int], None], deadline_ns: int) -> None:
        try:
            hear(deadline_ns)
            self._take(line)
        except DriverError as error:
            self.heard[line.part] = False
            line.fail(error)
        line.close_cycle()

    def _take(self, line: Line) -> None:
        """Keep what a bus has just said of its joints."""
        state, part = line.bus.state, line.part
        line.take_state()
        self.heard[part] = True
        if line.bus.CURRENT_EACH_CYCLE:
            self.current_a[part] = state.current_a
            self.current_ns[part] = state.stamp_ns

    def read_next_health(self, deadline_ns: int) -> None:
        """Ask the next motor of all, in turn, for current, temperature and voltage."""
        line, index = self._motors[self._next_motor]
        self._next_motor = (self._next_motor + 1) % len(self._motors)
        try:
            line.bus.read_health(index, deadline_ns)
            place = line.part.start + index
            self.current_a[place] = line.bus.state.current_a[index]
            self.current_ns[place] = self._clock.now_ns()
        except DriverError as error:
            line.health_missed += 1
            if isinstance(error, Overload):
                line.fault = str(error)

    def connect(self) -> None:
        """Connect every bus and read where its motors are; torque stays as found. Raises `DriverError`."""
        for line in self.lines:
            self._connect(line)

    def reconnect(self) -> None:
        """Connect again the buses that fail, and start afresh with all of them. Raises `DriverError`."""
        for line in self.lines:
            if line.misses or line.lost:
                self.renew(line)
            line.forget()

    def renew(self, line: Line) -> None:
        """Connect one bus again, and start afresh with it. Raises `DriverError`."""
        line.bus.disconnect()
        self._connect(line)
        line.forget()

    def _connect(self, line: Line) -> None:
        line.safe = False
        line.bus.connect(self._clock.now_ns() + ACTION_NS)
        try:
            if self._verify is not None:
                self._verify(line.bus, self._clock.now_ns() + ACTION_NS)
            line.recognise(self._clock.now_ns() + ACTION_NS)
            line.bus.tune(self._clock.now_ns() + ACTION_NS)
        except DriverError:
            line.bus.disconnect()
            raise
        line.take_state()

    def enable_torque(self) -> None:
        """Switch torque on where the motors are: nothing moves. All buses are checked before one is switched.

        Raises `DriverError`, which names the buses that have torque afterwards: a bus that had some before. One that
        has it by this call is let go again.
        """
        held: list[Line] = []
        switched: list[Line] = []
        try:
            for line in self.lines:
                if line.bus.aim(self._clock.now_ns() + ACTION_NS):
                    held.append(line)  # noqa: PERF401  kept where a later bus raises
            for line in self.lines:
                line.safe = False
                switched.append(line)
                line.bus.enable_torque(self._clock.now_ns() + ACTION_NS)
                line.bus.read_state(self._clock.now_ns() + ACTION_NS)
                line.take_state()
            for line in self.lines:  # last of all: a slow bus must not make those before it stop by themselves
                line.bus.watch(self._clock.now_ns() + ACTION_NS)
        except DriverError as error:
            stays = [f"bus {line.name} has torque as before" for line in held]
            stays += self._let_go([line for line in switched if line not in held])
            if stays:
                raise DriverError(f"{error}; {'; '.join(stays)}") from error
            raise

    def _let_go(self, lines: Sequence[Line]) -> list[str]:
        """Which of these buses may have torque all the same."""
        failures = []
        for line in lines:
            try:
                line.bus.disable_torque(self._clock.now_ns() + ACTION_NS)
            except DriverError as error:
                failures.append(f"bus {line.name} may have torque: {error}")
        return failures

    def disable_torque(self) -> None:
        """Let go. Raises `DriverError`."""
        for line in self.lines:
            line.safe = False
            line.bus.disable_torque(self._clock.now_ns() + ACTION_NS)

    def safe_action(self) -> list[str]:
        """Each motor's declared safe action on every bus that has not confirmed it yet, whatever another bus does.

        What failed, one line a bus.
        """
        failures = []
        for line in (line for line in self.lines if not line.safe):
            for _ in range(ATTEMPTS):
                try:
                    line.bus.safe_action(self._clock.now_ns() + ACTION_NS)
                    line.safe = True
                    break
                except Exception as error:  # noqa: BLE001  a bug in one driver must not keep the next arm from its safe action
                    failure = f"bus {line.name}: {type(error).__name__}: {error}"
            else:
                failures.append(failure)
        return failures

    def disconnect(self) -> None:
        """Close every port; torque stays."""
        for line in self.lines:
            line.bus.disconnect()


def _shown(motor: Identity) -> str:
    firmware = f" with firmware {motor.firmware}" if motor.firmware else ""
    return f"{motor.model}{firmware} and homing offset {motor.homing}"
