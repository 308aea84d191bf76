"""What the arm does now: commands and happenings come in, the mode changes, and the motion that goes with it begins."""

from __future__ import annotations

import numpy as np

from drivers.errors import DriverError
from edge_runtime.arrival import Arrival
from edge_runtime.buses import Buses
from edge_runtime.config import Robot
from edge_runtime.effort import following_rad
from edge_runtime.errors import CommandError
from edge_runtime.estop import Estops
from edge_runtime.events import Report
from edge_runtime.follow import Follow
from edge_runtime.hand import HandSource
from edge_runtime.limits import Floats, Limits, stepwise_joints
from edge_runtime.link import IDLE, Link, Order, Request
from edge_runtime.pacer import Pacer
from edge_runtime.policies.base import Prompt
from edge_runtime.reference import Reference
from edge_runtime.safety import Limiter
from edge_runtime.states import (
    COAST,
    DISARMED,
    PARK,
    SAFE,
    TAKEN,
    TAKEN_TASK,
    TASK,
    TO_START,
    Command,
    Happening,
    Machine,
    Mode,
    Phase,
    State,
    Trigger,
)
from edge_runtime.takeover import Takeover
from edge_runtime.torque import Torque
from edge_runtime.trajectory import Motion, Stop, Transfer

PATIENT = (Command.RESUME, Command.RESET, Command.DISARM)
"""Commands that an arm that is still stopping does not take yet."""
BEGINNING = (Command.ARM, Command.RESET)
"""Commands that are refused while an e-stop is pressed."""


class Director:
    """Owned by the control thread, like everything it holds."""

    def __init__(
        self,
        robot: Robot,
        *,
        buses: Buses,
        torque: Torque,
        limiter: Limiter,
        link: Link,
        pacer: Pacer,
        report: Report,
        estops: Estops,
        hand: HandSource | None,
    ) -> None:
        limits = Limits.of(robot)
        self._start_rad: Floats = np.array([j.start_rad for j in robot.joints])
        self._park_rad: Floats = np.array([j.park_rad for j in robot.joints])
        self._timeout_ns = int(robot.episode.timeout_s * 1e9)
        self._buses = buses
        self._torque = torque
        self._limiter = limiter
        self._link = link
        self._pacer = pacer
        self._report = report
        self._estops = estops
        self._hand = hand
        self._hand_age_ms = robot.deadlines.hand_age_ms
        self._follow = Follow(
            limits,
            limiter,
            pacer.period_ns,
            blend=robot.motion.seam != "none",
            stepwise=stepwise_joints(robot),
        )
        self._stop = Stop(limiter)
        readings = hand.readings if hand is not None else None
        self._takeover = Takeover(limits, limiter, pacer.period_ns / 1e9, readings)
        self._transfer = Transfer(limits, limiter)
        self._arrival = Arrival(np.array([following_rad(joint) for joint in robot.joints]))
        self._motion: Motion = self._stop
        self._number = 0
        self._deadline_ns = 0
        self._left_ns = 0
        self.machine = Machine(pacer.due_ns)
        self.prompt: Prompt | None = None
        """The task at hand, or the one that waits for the end of a move."""
        self.still = True
        """The motion sampled last was over."""
        self.cause = ""
        """Why the present mode was entered."""
        self.task_began_ns = 0
        self.coast_began_ns = 0
        self.episodes = 0
        self.successes = 0

    @property
    def mode(self) -> Mode:
        return self.machine.mode

    @property
    def latched(self) -> str:
        """The last press of an e-stop since a person's `reset`, in words; empty where there was none."""
        return self._estops.latched

    @property
    def chunk_ns(self) -> int:
        """Capture time of the frame behind the present setpoint, 0 where there is none."""
        chunk = self._follow.chunk
        return chunk.capture_ns if chunk is not None and self._motion is self._follow else 0

    @property
    def chunk_over(self) -> bool:
        """The last action of the chunk was due."""
        return self._follow.over

    @property
    def failure(self) -> str:
        """Why the last inference of the present request failed, empty where it did not."""
        number, cause = self._link.failure
        return cause if number == self._number else ""

    @property
    def terminated(self) -> bool:
        """The policy said that the task is done: this one, with the instruction that it has now."""
        return self._link.terminated is self._link.request

    def sample(self, t_ns: int, out: Reference) -> None:
        """Write the reference due at `t_ns` into `out`."""
        if self._motion is self._follow:
            chunk = self._link.chunks.take()
            if chunk is not None and chunk is not self._follow.chunk and chunk.request == self._number:
                self._follow.begin(chunk, t_ns, self._link.lead_ns)
        self.still = self._motion.sample(t_ns, out)

    def postpone(self, duration_ns: int) -> None:
        """Slots were skipped."""
        self._motion.postpone(duration_ns)

    def due(self) -> Happening | None:
        """What happens now by the plan of the episode."""
        mode = self.mode
        if self.still and (mode is TO_START or mode is PARK) and self._arrived():
            return Happening.BEGIN if self.prompt else Happening.ARRIVED
        if (mode is TASK or mode is COAST) and self._pacer.due_ns >= self._deadline_ns:
            return Happening.TIMEOUT
        return None

    def obey(self, order: Order) -> str:
        """Do what a person says; the answer is empty, or one line that says why not."""
        name = order.command.value
        try:
            self.machine.check(order.command)
            self._prepare(order)
        except CommandError as error:
            return f"cannot {name} in {self.mode}: {error}"
        except DriverError as error:
            self.go(Happening.LOST, f"{name}: {error}")
            return f"{name} failed, now in {self.mode}: {error}"
        if order.command is Command.RESET:
            self._estops.latched = ""
        self.go(order.command, f"command {name}")
        return ""

    def go(self, trigger: Trigger, cause: str) -> None:
        """Go where `trigger` leads, and begin what belongs to it."""
        before, after = self.mode, self.machine.fire(trigger, self._pacer.woken_ns)
        if trigger is Command.TASK and after.phase is Phase.TASK:
            self._ask()
        if trigger is Command.DONE or trigger is Happening.TERMINATED:
            self.successes += 1
        if after is before:
            return
        self.cause = cause
        self._report(str(after), cause)
        self._forget(before, after)
        self._begin(trigger, before, after)
        if after is TAKEN_TASK:
            self._link.request = Request(self._number, self.prompt, person=True)
        elif after is not TASK and after is not COAST:
            self._link.request = IDLE

    def _forget(self, before: Mode, after: Mode) -> None:
        """A task ends where there is no place for it: said where it had not even begun. A held one keeps its time."""
        if after.phase is Phase.NONE or (after is PARK and before.phase is Phase.TASK):
            if self.prompt is not None and before.phase is not Phase.TASK:
                self._report("task dropped", self.prompt.instruction)
            self.prompt = None
        if before is TASK or before is COAST:
            self._left_ns = self._deadline_ns - self._pacer.due_ns

    def _begin(self, trigger: Trigger, before: Mode, after: Mode) -> None:
        """The motion of the new mode, or what else is done there."""
        if after is TASK and before is not COAST:
            self._run(before)
        elif after is TO_START:
            self._move_to(self._start_rad)
        elif after is PARK:
            self._move_to(self._park_rad)
        elif after is COAST:
            self.coast_began_ns = self._pacer.due_ns
        elif after is SAFE:
            self._torque.make_safe()
        elif after.state is State.TAKEOVER:
            self._takeover.begin()
            self._motion = self._takeover
        elif trigger is Command.HANDBACK:
            self._takeover.release()
        elif before is TAKEN or (after.state is State.HOLD and before.state is not State.HOLD):
            self._halt()

    def finish(self, cause: str) -> None:
        """The end of the loop: the safe action, where torque may be on because of us."""
        if self.mode is SAFE:
            self._torque.make_safe()
        elif self._torque.ours:
            self.go(Happening.LOST, cause)

    def _prepare(self, order: Order) -> None:
        """What must succeed before the mode changes. `CommandError`: it stays. `DriverError`: torque is in doubt."""
        command, holding = order.command, self.mode.state is State.HOLD
        if command in PATIENT and self.mode.drives and not self.still:
            raise CommandError("still stopping, try again")
        if command in BEGINNING and (pressed := self._estops.pressed(self._pacer.woken_ns)):
            raise CommandError(f"{pressed}: release it first")
        if command is Command.ARM and self._estops.latched:
            raise CommandError(f"{self._estops.latched}: reset first")
        if command is Command.ARM or (command is Command.RESET and holding):
            self._torque.take()
            self._limiter.start_from(self._buses.measured_rad)
            self._halt()
        elif command is Command.RESET and self.mode is SAFE:
            self._torque.reconnect()
            self._torque.make_safe()
            if self._torque.ours:
                raise CommandError("the safe action still fails")
        elif command is Command.DISARM:
            if self.mode is DISARMED:  # torque as it was found, perhaps by a run that ended holding
                self._torque.reconnect()
            self._torque.let_go()
        elif command is Command.TAKEOVER:
            self._check_hand()
        elif command is Command.ESTOP:
            self._estops.latched = "e-stop by command"
            self._report("e-stop pressed", "by command")
        elif command is Command.TASK and order.prompt is not None:
            self.prompt = order.prompt
            self._report("task", order.prompt.instruction)

    def _halt(self) -> None:
        """Come to rest from the last setpoint."""
        self._motion = self._stop

    def _arrived(self) -> bool:
        """Whether the joints are where the setpoint has arrived."""
        buses = self._buses
        return self._arrival.check(self._pacer.due_ns, buses.setpoint_rad, buses.measured_rad, buses.velocity_rad_s)

    def _move_to(self, pose_rad: Floats) -> None:
        self._arrival.begin()
        self._transfer.begin(pose_rad)
        self._motion = self._transfer

    def _check_hand(self) -> None:
        """Raise `CommandError` where nothing is there for a person to drive with."""
        hand = self._hand
        if hand is None:
            raise CommandError("robot.toml has neither [leader] nor [gamepad]")
        if hand.trouble:
            raise CommandError(f"the hand is lost: {hand.trouble}")
        age_ms = (self._pacer.woken_ns - hand.stamp_ns) / 1e6
        if age_ms > self._hand_age_ms:
            raise CommandError(f"the newest reading of the hand is {age_ms:.0f} ms old, limit {self._hand_age_ms:g} ms")

    def _run(self, before: Mode) -> None:
        """Follow the chunks of a new request: of a new episode, or of one that was held, with the time it had left."""
        self._number += 1
        self._follow.forget()
        self._motion = self._follow
        self.task_began_ns = self._pacer.due_ns
        self._ask()
        if before.state is State.HOLD or before.state is State.TAKEOVER:
            self._deadline_ns = self._pacer.due_ns + self._left_ns
        else:
            self.episodes += 1

    def _ask(self) -> None:
        """Chunks for the present prompt from now on, and the whole of a task's time for it."""
        self._deadline_ns = self._pacer.due_ns + self._timeout_ns
        self._link.request = Request(self._number, self.prompt)
