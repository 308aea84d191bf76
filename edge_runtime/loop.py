"""The control thread: each tick a setpoint is sampled, limited and written, the joints are read, and all of it judged.

The setpoint is made ready shortly before its slot, so that nothing but sending it is left to do when that comes.
One tick after another at absolute times, on a thread that waits for no other: no lock, no log, no lasting allocation.
Whatever ends the loop, an arm that was armed gets its declared safe action first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from drivers.motors.base import MotorBus
from edge_runtime import calibrated
from edge_runtime.buses import Buses
from edge_runtime.clock import Clock
from edge_runtime.config import Robot
from edge_runtime.delay import KEPT, Delay
from edge_runtime.director import Director
from edge_runtime.effort import DELAY_NS, Effort
from edge_runtime.errors import EdgeError
from edge_runtime.estop import Estops, Input
from edge_runtime.events import EventQueue
from edge_runtime.exchange import Exchange
from edge_runtime.fence import Workspace
from edge_runtime.frozen import Frozen
from edge_runtime.hand import HandSource
from edge_runtime.limits import Limits
from edge_runtime.link import Link
from edge_runtime.orders import Orders
from edge_runtime.pacer import Pacer
from edge_runtime.recorder import Ticks
from edge_runtime.recovery import Recovery
from edge_runtime.reference import Reference
from edge_runtime.safety import Limiter
from edge_runtime.silence import Silence
from edge_runtime.states import SAFE, Command, State
from edge_runtime.torque import Pet, Torque
from edge_runtime.watchdog import HUNG, LOST, Readings, Watchdog

HEALTH_S = 1.0
"""Every motor's health is read about once in this time: temperatures change over many seconds, and a current that
hurts a motor is its own protection's to switch off."""
INSIST_S = 2.0
"""A safe action that a bus did not confirm is tried again after this much of ticks: a try may block for three attempts
of a second each, and between two of them commands are to be answered."""
CYCLE_SHARE = 0.8
"""Longest serial cycle in periods, so that a bus that does not answer makes no tick late: the rest is for
everything else that a tick does."""
SEND_SHARE = 0.5
"""A setpoint is taken to be sent as long after its time as half of the last ones were."""
MOVING = (State.RUN, State.COAST, State.TAKEOVER)
"""States that a closing robot leaves by a stop first."""


Alive = Callable[[int], object]
"""Called by the control thread after a tick that was in time, with when it woke, CLOCK_MONOTONIC ns."""


def cycle_ns(robot: Robot) -> int:
    """How long a serial cycle may take, all buses together."""
    return min(int(robot.deadlines.serial_ms * 1e6), int(CYCLE_SHARE * 1e9 / robot.control.rate_hz))


class FrameSource(Protocol):
    """What control must know of a camera."""

    name: str
    capture_ns: int
    """Of the newest frame, 0 before the first."""
    frozen_ns: int
    """For how long it has delivered the same picture, by its stamps; 0 once it is another."""


class ControlLoop:
    """Everything the control thread owns. Construct, connect the buses, `run` on the thread that is to be it."""

    def __init__(
        self,
        robot: Robot,
        *,
        buses: Sequence[MotorBus],
        cameras: Sequence[FrameSource],
        link: Link,
        events: EventQueue,
        clock: Clock,
        ticks: Ticks,
        pet: Pet,
        estops: Sequence[Input] = (),
        hand: HandSource | None = None,
        exchange: Exchange | None = None,
        alive: Alive | None = None,
    ) -> None:
        """`exchange`: what does the serial cycle without the interpreter, on the real clock only.

        `alive`: never waits for anything.
        """
        limits = Limits.of(robot)
        period_ns = round(1e9 / robot.control.rate_hz)
        self._clock = clock
        self._cameras = cameras
        self._link = link
        self._estops = Estops(estops)
        self._hand = hand
        self._events = events
        self._ticks = ticks
        self._pet = pet
        self._alive = alive
        self._late_ns = int(robot.deadlines.tick_ms * 1e6)
        self._missed = 0
        self._stuck_s = robot.deadlines.stuck_ms / 1e3
        self._cycle_ns = cycle_ns(robot)
        self._health_ticks = max(1, int(HEALTH_S * robot.control.rate_hz / len(limits.names)))
        self._insist_ticks = max(1, int(INSIST_S * robot.control.rate_hz))
        self._closing = ""
        self.hung = ""
        """Why no inference will ever end again, which ends the loop; empty while that is not so."""
        self._send = Delay(SEND_SHARE)
        follow_ns = calibrated.actuator_delay_ns(robot)
        self._actuator_ns = (follow_ns or 0) if robot.policy.actions == "positions" else 0
        self._sensor_age_ns = -1
        self._sent_ns = -1
        self._cpu_ns = clock.cpu_ns()
        self._readings = Readings(len(cameras))
        self._frozen = Frozen(cameras, len(limits.names))
        self._reference = Reference(len(limits.names))
        self.pacer = Pacer(clock, period_ns)
        self.buses = Buses(buses, clock, self._cycle_ns, calibrated.checker(robot), exchange)
        link.wait_ns = period_ns + self.pacer.lead_ns
        self.limiter = Limiter(limits, period_ns / 1e9, Workspace.of(robot))
        self._silence = Silence(len(limits.names), period_ns)
        self.effort = Effort(robot, period_ns, DELAY_NS if follow_ns is None else follow_ns, events.report)
        self.watchdog = Watchdog(robot.deadlines, [c.name for c in cameras], self.buses.lines, events.report)
        self.torque = Torque(buses=self.buses, pacer=self.pacer, report=events.report, pet=pet)
        self.recovery = Recovery(self.buses.lines, self.torque, clock, events.report)
        self.director = Director(
            robot,
            buses=self.buses,
            torque=self.torque,
            limiter=self.limiter,
            link=link,
            pacer=self.pacer,
            report=events.report,
            estops=self._estops,
            hand=hand,
        )
        self.orders = Orders(events.report)
        """Commands from other threads, done one a tick."""

    def run(self, seconds: float | None = None) -> None:
        """Tick until `close`d, or for `seconds`; then stop, do the safe action and return.

        An exception anywhere leads to the safe action and on to the caller. Raises `EdgeError` where a bus never
        confirmed the safe action.
        """
        self.pacer.begin()
        self._cpu_ns = self._clock.cpu_ns()
        self._pet(self._stuck_s)
        end_ns = None if seconds is None else self.pacer.due_ns + int(seconds * 1e9)
        try:
            while not (self._closing and self._at_rest()):
                self.pacer.prepare()
                self.tick()
                if end_ns is not None and self.pacer.due_ns >= end_ns:
                    self.close(f"{seconds:g} s are over")
        except BaseException as error:
            self._closing = f"control thread failed: {type(error).__name__}: {error}"
            self._events.report("control failed", self._closing)
            raise
        finally:
            self.director.finish(self._closing)
        if self.torque.ours:
            raise EdgeError("the safe action failed on at least one bus: run `edge safe-stop` or switch the supply off")

    def close(self, cause: str) -> None:
        """Ask the loop to end properly; once is enough, and more is no different. From any thread or signal handler."""
        self._closing = self._closing or cause

    @property
    def closing(self) -> str:
        """Why it was asked to end, empty while it was not."""
        return self._closing

    def tick(self) -> None:
        """One control cycle."""
        if drives := self.director.mode.drives:
            self._sample()
            self._limit()
        else:
            self._watch()
        self._cycle(drives)
        self._tell()
        self._judge()
        self._obey()
        self._record()
        self._pet(self._stuck_s)
        if self._in_time() and self._alive is not None:
            self._alive(self.pacer.woken_ns)

    def _in_time(self) -> bool:
        """Whether this tick came when it was due, and no slot was skipped since the last one."""
        before, self._missed = self._missed, self.pacer.missed
        return self._missed == before and self.pacer.lateness_ns <= self._late_ns

    def _sample(self) -> None:
        for joint in self._silence.over(self.pacer.due_ns):
            self.limiter.stand(joint)
        if self.pacer.skipped:
            self.director.postpone(self.pacer.skipped * self.pacer.period_ns)
        if self._ticks.total % KEPT == 0:
            self._link.lead_ns = self._send.estimate_ns + self._actuator_ns
        self.director.sample(self.pacer.due_ns, self._reference)

    def _limit(self) -> None:
        self._readings.refused = self.limiter.limit(self._reference, self.buses.setpoint_rad)

    def _cycle(self, drives: bool) -> None:
        """The slot comes: the setpoint goes out, where there is one, and the joints are read."""
        buses, pacer = self.buses, self.pacer
        due_ns = pacer.due_ns
        buses.cycle(due_ns, drives, self._silence.latest_ns(due_ns))
        pacer.wake(buses.began_ns)
        self._sent_ns = self._sensor_age_ns = -1
        if not drives:
            return
        self._settle()
        if not any(line.told for line in buses.lines):
            return
        capture_ns = self.director.chunk_ns
        self._sensor_age_ns = buses.sent_ns - capture_ns if capture_ns else -1
        self._sent_ns = pacer.lateness_ns + buses.sent_ns - buses.began_ns
        self._send.add(buses.sent_ns - due_ns)
        pacer.sent_ns = buses.sent_ns

    def _settle(self) -> None:
        """The setpoints that went out end a silence; those that did not are taken back."""
        buses = self.buses
        for line in buses.lines:
            untold = line.untold
            self._silence.end(line.part.start, untold.start, buses.began_ns)
            if line.unsent:
                self.limiter.take_back(untold)
                buses.setpoint_rad[untold] = self.limiter.position_rad[untold]

    def _watch(self) -> None:
        """Nothing is written: the setpoint is wherever the joints are."""
        self.recovery.attempt(self.director.mode)
        if self.director.mode is SAFE and self.torque.ours and self._ticks.total % self._insist_ticks == 0:
            self.torque.make_safe()
        self.buses.setpoint_rad[:] = self.buses.measured_rad

    def _tell(self) -> None:
        """Tell the other threads where the joints are and are to be; ask for a motor's health where there is time."""
        self._link.joints.back[:] = self.buses.measured_rad
        self._link.joints.publish()
        self._link.setpoints.back[:] = self.buses.setpoint_rad
        self._link.setpoints.publish()
        began_ns, serial_ns = self.buses.began_ns, self.buses.ended_ns - self.buses.began_ns
        if self._ticks.total % self._health_ticks == 0 and 2 * serial_ns < self._cycle_ns:
            self.buses.read_next_health(began_ns + self._cycle_ns)

    def _judge(self) -> None:
        director, now = self.director, self._readings
        now.now_ns = self._clock.now_ns()
        now.lateness_ns = self.pacer.lateness_ns
        now.strained = self._strain(now.now_ns)
        now.still = director.still
        now.pressed = self._estops.check(now.now_ns)
        if self._estops.fresh:
            self.orders.refuse(self._estops.fresh)
        now.hand_ns = self._hand.stamp_ns if self._hand is not None else 0
        for index, camera in enumerate(self._cameras):
            now.frame_ns[index] = camera.capture_ns
        self._frozen.check(self.buses.measured_rad, now.frozen_ns)
        now.chunk_over = director.chunk_over
        now.chunk_ns = director.chunk_ns or director.task_began_ns
        now.inference_started_ns = self._link.inference_started_ns
        now.inference_failure = director.failure
        now.device_lost = self._link.lost
        now.terminated = director.terminated
        now.coasting_since_ns = director.coast_began_ns
        if happening := self.watchdog.judge(director.mode, now):
            director.go(happening, self.watchdog.cause)
        elif happening := director.due():
            director.go(happening, happening.value)
        if hung := self.watchdog.hung(director.mode, now):
            self.hung = hung
            self.close(f"{HUNG}: {hung}")
        if lost := self.watchdog.lost(director.mode, now):
            self.close(f"{LOST}: {lost}")

    def _strain(self, now_ns: int) -> str:
        """Which joint has stalled or is overloaded; it yields at once, before the rest of the arm has stopped."""
        buses = self.buses
        if not self.director.mode.drives:
            self.effort.rest(buses.measured_rad)
            return ""
        cause = self.effort.judge(
            now_ns, buses.setpoint_rad, buses.measured_rad, buses.heard, buses.current_a, buses.current_ns
        )
        for joint in self.effort.pushing:
            self.limiter.yield_to(joint, float(buses.measured_rad[joint]))
        return cause

    def _obey(self) -> None:
        if self._closing and self.director.mode.state in MOVING:
            self.director.go(Command.STOP, self._closing)
        if (order := self.orders.take()) is not None:
            closing = f"the robot is closing: {self._closing}" if self._closing else ""
            self.orders.answer(order, closing or self.director.obey(order))

    def _record(self) -> None:
        before_ns, self._cpu_ns = self._cpu_ns, self._clock.cpu_ns()
        self._ticks.add(
            t_ns=self.pacer.woken_ns,
            lateness_ns=self.pacer.lateness_ns,
            tick_ns=self._clock.now_ns() - self.pacer.woken_ns,
            serial_ns=self.buses.ended_ns - self.buses.began_ns,
            sensor_age_ns=self._sensor_age_ns,
            state=self.director.mode.state,
            setpoint_rad=self.buses.setpoint_rad,
            measured_rad=self.buses.measured_rad,
            sent_ns=self._sent_ns,
            cpu_ns=self._cpu_ns - before_ns,
        )

    def _at_rest(self) -> bool:
        mode = self.director.mode
        return not mode.drives or (self.director.still and mode.state not in MOVING)
