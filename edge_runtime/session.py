"""The parts of one running robot, and what can be said of them from outside: status, answers to commands, the record.

Everything here is read from the threads' own fields without stopping any of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_runtime.black_box.box import BlackBox
from edge_runtime.clock import Clock
from edge_runtime.config import Robot
from edge_runtime.control_socket import Answer, Waiting, refusal
from edge_runtime.errors import InstructionError
from edge_runtime.estop import EstopThread
from edge_runtime.events import EventQueue
from edge_runtime.hand import HandThread
from edge_runtime.inference import Inference
from edge_runtime.link import Link, Order
from edge_runtime.loop import ControlLoop
from edge_runtime.observation import CameraThread
from edge_runtime.policies.base import Policy
from edge_runtime.record import Event, RunRecord
from edge_runtime.recorder import Inferences, Ticks
from edge_runtime.recording import Recording
from edge_runtime.states import Command, State
from edge_runtime.suggest import did_you_mean
from edge_runtime.watchdog import HUNG, LOST

STATUS = "status"
KEPT = 10_000
"""How many of the last events a record holds."""


@dataclass
class Session:
    """One running robot. What has a default here is filled in as it starts to run."""

    robot: Robot
    policy: Policy
    clock: Clock
    events: EventQueue
    link: Link
    ticks: Ticks
    inferences: Inferences
    cameras: Sequence[CameraThread]
    inference: Inference
    loop: ControlLoop
    recording: Recording | None
    black_box: BlackBox | None
    estops: Sequence[EstopThread]
    hand: HandThread | None
    kept: deque[Event] = field(default_factory=lambda: deque(maxlen=KEPT))
    """The last events."""
    started_ns: int = 0
    ended_ns: int = 0
    """0 before the loop has ended."""
    machine: dict[str, Any] = field(default_factory=dict)

    def handle(self, request: dict[str, Any]) -> Waiting:
        """Begin what a client of the control socket asks for: {"cmd": …}, with "instruction" for a task."""
        name = request.get("cmd")
        if name == STATUS:
            return self.status
        commands = [command.value for command in Command]
        if name not in commands:
            return _refused(f"there is no command {name}{did_you_mean(str(name), [*commands, STATUS])}")
        try:
            order = self._order(Command(name), request.get("instruction"))
        except InstructionError as error:
            return _refused(str(error))
        self.loop.orders.append(order)
        return lambda: self._answer(order)

    def _order(self, command: Command, instruction: object) -> Order:
        if command is not Command.TASK:
            return Order(command)
        if not isinstance(instruction, str) or not instruction.strip():
            raise InstructionError("a task needs an instruction: what is the robot to do?")
        return Order(command, self.policy.prompt(instruction))

    def _answer(self, order: Order) -> Answer | None:
        if order.answer is None:
            return None
        return refusal(order.answer) if order.answer else {"ok": True, **self._mode()}

    def _mode(self) -> dict[str, Any]:
        director = self.loop.director
        prompt = director.prompt
        return {
            "state": director.mode.state.name,
            "phase": director.mode.phase.value,
            "instruction": prompt.instruction if prompt else "",
        }

    def status(self) -> Answer:
        """Everything a person may want to know now. Ages and times are milliseconds, None where there is nothing."""
        loop, now_ns = self.loop, self.clock.now_ns()
        director, buses = loop.director, loop.buses

        def since(t_ns: int) -> float | None:
            return round((now_ns - t_ns) / 1e6, 1) if t_ns else None

        return {
            "ok": True,
            "robot": self.robot.name,
            **self._mode(),
            "cause": director.cause,
            "allowed": director.machine.allowed(),
            "torque": loop.torque.words(self.robot.joint_names),
            "episodes": director.episodes,
            "successes": director.successes,
            "age_ms": {
                **{f"frame {camera.name}": since(camera.capture_ns) for camera in self.cameras},
                "chunk": since(director.chunk_ns),
                "inference": since(self.link.inference_started_ns),
                **({"hand": since(self.hand.stamp_ns)} if self.hand else {}),
            },
            "buses": {line.name: line.lost or "connected" for line in buses.lines},
            "estops": {one.name: one.trouble or ("pressed" if one.pressed else "released") for one in self.estops},
            "ticks": self.ticks.total,
            "missed": loop.pacer.missed,
            "joints": {
                name: {
                    "setpoint_rad": round(float(buses.setpoint_rad[index]), 4),
                    "measured_rad": round(float(buses.measured_rad[index]), 4),
                    **health,
                }
                for index, (name, health) in enumerate(zip(self.robot.joint_names, self._health(), strict=True))
            },
            "counters": self.counters(),
        }

    def _health(self) -> Iterable[dict[str, float]]:
        for line in self.loop.buses.lines:
            state = line.bus.state
            for current, celsius, volts in zip(state.current_a, state.temperature_c, state.voltage_v, strict=True):
                yield {"current_a": round(current, 3), "temperature_c": float(celsius), "voltage_v": round(volts, 2)}

    def counters(self) -> dict[str, int]:
        """Everything counted, by name."""
        counts = self.loop.watchdog.counts()
        counts |= {f"limited: {name}": count for name, count in self.loop.limiter.counted().items()}
        counts |= self.loop.effort.counted()
        for line in self.loop.buses.lines:
            counts[f"serial misses {line.name}"] = line.missed
            counts[f"health misses {line.name}"] = line.health_missed
        for camera in self.cameras:
            counts |= {f"camera {camera.name} {what}": count for what, count in camera.counts.items()}
        counts |= {f"e-stop {one.name}": one.presses for one in self.estops}
        if self.hand is not None:
            counts["hand lost"] = self.hand.lost
        counts["inferences failed"] = self.inference.failed
        counts["malformed action tokens"] = getattr(self.policy, "malformed", self.inference.malformed)
        counts["committed beyond training"] = getattr(self.policy, "beyond", 0)
        counts |= self.inference.space.counts()
        if self.recording is not None:
            counts |= self.recording.counts()
        if self.black_box is not None:
            counts |= self.black_box.counts()
        return counts

    def record(self, ended_ns: int) -> RunRecord:
        """What the run leaves behind, or would if it ended then."""
        ticks, kept = self.ticks, self.ticks.order()
        inferences, inferred = self.inferences, self.inferences.order()
        director = self.loop.director
        events = list(self.kept)  # in one go: a thread adds to it meanwhile
        return RunRecord(
            robot=self.robot.name,
            rate_hz=self.robot.control.rate_hz,
            joint_names=self.robot.joint_names,
            state_names=tuple(state.name for state in State),
            started_ns=self.started_ns,
            ended_ns=ended_ns,
            ticks=ticks.total,
            missed=self.loop.pacer.missed,
            t_ns=ticks.t_ns[kept],
            lateness_ns=ticks.lateness_ns[kept],
            tick_ns=ticks.tick_ns[kept],
            serial_ns=ticks.serial_ns[kept],
            sensor_age_ns=ticks.sensor_age_ns[kept],
            sent_ns=ticks.sent_ns[kept],
            cpu_ns=ticks.cpu_ns[kept],
            state=ticks.state[kept],
            setpoint_rad=ticks.setpoint_rad[kept],
            measured_rad=ticks.measured_rad[kept],
            inference_t_ns=inferences.t_ns[inferred],
            inference_ns=inferences.duration_ns[inferred],
            chunks=self.inference.chunks,
            episodes=director.episodes,
            successes=director.successes,
            state_seconds=director.machine.seconds(ended_ns),
            counters=self.counters(),
            events=[*events, *self._ends(events, ended_ns)],
            machine=self.machine,
        )

    def _ends(self, events: list[Event], ended_ns: int) -> Iterator[Event]:
        """What the process ends for, where `events` do not tell: it was found as the run was taken apart."""
        told = {event.name for event in events}
        for name, cause in ((HUNG, self.inference.hung), (LOST, self.link.lost)):
            if cause and name not in told:
                yield Event(ended_ns, name, cause)


def _refused(error: str) -> Waiting:
    return lambda: refusal(error)
