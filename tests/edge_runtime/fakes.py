"""A robot without hardware: bus, camera and policy that do what a test says, and a rig that steps the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np

from drivers.cameras.base import Camera, CameraSettings, Frame, Stamp
from drivers.errors import DriverError
from drivers.motors.base import BusSettings, Floats, Identity, MotorBus
from edge_runtime import config_check
from edge_runtime.bundle_spec import CameraSpec, FlowSpec, Normalisation, PolicySpec, PromptSpec, VectorSpec
from edge_runtime.clock import Clock, FakeClock
from edge_runtime.config import Robot
from edge_runtime.devices import bus_settings
from edge_runtime.errors import InstructionError
from edge_runtime.events import EventQueue
from edge_runtime.hand import Reading
from edge_runtime.link import Link, Order
from edge_runtime.loop import Alive, ControlLoop
from edge_runtime.policies.base import Observation, Prompt
from edge_runtime.record import Event
from edge_runtime.recorder import Ticks
from edge_runtime.slot import Slot
from edge_runtime.states import Command
from tests.robot_toml import ROBOT

HORIZON = 10
DT_NS = 50_000_000


def robot(folder: Path = Path("/nowhere"), *, arms: int = 1, **changes: Mapping[str, object]) -> Robot:
    """The robot of `tests/robot_toml.py` with `arms` buses of its six joints; `changes` replace fields of sections."""
    one = config_check.parse(ROBOT.encode(), folder)
    policy = msgspec.structs.replace(one.policy, instruction="")
    one = msgspec.structs.replace(one, policy=policy)
    names = ("left", "right", "third")[:arms] if arms > 1 else ("arm",)
    buses = tuple(msgspec.structs.replace(one.buses[0], name=name, port=f"/dev/{name}") for name in names)
    sections = {k: msgspec.structs.replace(getattr(one, k), **v) for k, v in changes.items()}
    return msgspec.structs.replace(one, buses=buses, **sections)


class FakeBus(MotorBus):
    """Motors that are at once where they are told to be. `trouble`: what a call raises, until it is connected."""

    def __init__(self, settings: BusSettings, clock: Clock) -> None:
        super().__init__(settings)
        self.clock = clock
        self.trouble: dict[str, Exception] = {}
        self.takes_ns: dict[str, int] = {}
        self.calls: list[str] = []
        self.writes: list[tuple[int, Floats]] = []
        self.deadlines: dict[str, int] = {}
        self.torque = False
        self.safe = False
        self.position: Floats = np.zeros(len(settings.motors))
        """Where they are."""
        self.blocked: Floats = np.full(len(settings.motors), np.inf)
        """What stands in their way: none goes farther than this."""
        self.homing = [0] * len(settings.motors)
        self.healthy: list[int] = []

    def _call(self, name: str, deadline_ns: int) -> None:
        self.calls.append(name)
        self.deadlines[name] = deadline_ns - self.clock.now_ns()
        if name in self.takes_ns:
            self.clock.sleep_until(self.clock.now_ns() + self.takes_ns[name])
        if name in self.trouble:
            raise self.trouble[name]

    def connect(self, deadline_ns: int) -> None:
        self._call("connect", deadline_ns)
        self.trouble.clear()

    def identify(self, index: int, deadline_ns: int) -> Identity:
        self._call("identify", deadline_ns)
        return Identity(self.settings.motors[index].model, "", self.homing[index])

    def center(self, index: int, deadline_ns: int) -> None:
        self._call("center", deadline_ns)

    def aim(self, deadline_ns: int) -> bool:
        if "aim" in self.trouble:
            raise self.trouble["aim"]
        return self.torque

    def enable_torque(self, deadline_ns: int) -> None:
        self._call("enable_torque", deadline_ns)
        self.torque = True

    def disable_torque(self, deadline_ns: int) -> None:
        self._call("disable_torque", deadline_ns)
        self.torque = False

    def write_setpoints(self, position_rad: Floats, deadline_ns: int) -> None:
        self._call("write_setpoints", deadline_ns)
        if self.torque:
            np.minimum(position_rad, self.blocked, out=self.position)
        self.writes.append((self.clock.now_ns(), position_rad.copy()))

    def read_state(self, deadline_ns: int) -> None:
        self._call("read_state", deadline_ns)
        self.state.position_rad[:] = self.position
        self.state.stamp_ns = self.clock.now_ns()

    def read_health(self, index: int, deadline_ns: int) -> None:
        self._call("read_health", deadline_ns)
        self.healthy.append(index)

    def safe_action(self, deadline_ns: int) -> None:
        self._call("safe_action", deadline_ns)
        self.safe = True

    def disconnect(self) -> None:
        self.calls.append("disconnect")

    def fail(self, error: Exception, *calls: str) -> None:
        """Every call named, or each of a serial cycle, raises `error` from now on."""
        self.trouble.update(dict.fromkeys(calls or ("write_setpoints", "read_state"), error))


class FakeFrames:
    """A camera as the control thread sees it: fresh unless a test stops it."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.stopped_ns: int | None = None
        self.frozen_ns = 0
        self._clock = clock

    @property
    def capture_ns(self) -> int:
        return self._clock.now_ns() - 20_000_000 if self.stopped_ns is None else self.stopped_ns

    def stop(self) -> None:
        self.stopped_ns = self.capture_ns


class FakeEstop:
    """An e-stop input as the control thread sees it."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.pressed = False
        self.presses = 0
        self.trouble = ""
        self.blind_ns: int | None = None
        self._clock = clock

    @property
    def seen_ns(self) -> int:
        return self._clock.now_ns() if self.blind_ns is None else self.blind_ns

    def press(self, down: bool = True) -> None:
        self.presses += down and not self.pressed
        self.pressed = down


class FakeHand:
    """A leader as the control thread sees it: read whenever it is moved, and fresh until a test stops it."""

    def __init__(self, n: int, clock: Clock) -> None:
        self.readings = Slot(Reading(n), Reading(n), Reading(n))
        self.trouble = ""
        self.stopped_ns: int | None = None
        self.position_rad: Floats = np.zeros(n)
        self._clock = clock
        self.move(0.0)

    @property
    def stamp_ns(self) -> int:
        return self._clock.now_ns() - 10_000_000 if self.stopped_ns is None else self.stopped_ns

    def move(self, by_rad: Floats | float) -> None:
        self.position_rad += by_rad
        reading = self.readings.back
        reading.position_rad[:] = self.position_rad
        reading.stamp_ns = self._clock.now_ns()
        self.readings.publish()


class FakeCamera(Camera):
    """Gives what `script` yields: a frame number, or an error to raise. Counts how often it was opened."""

    def __init__(self, settings: CameraSettings, script: Callable[[int], int]) -> None:
        super().__init__(settings)
        self.opened = 0
        self.is_open = False
        self.reads = 0
        self.open_errors: list[DriverError] = []
        self._script = script

    def open(self) -> None:
        if self.open_errors:
            raise self.open_errors.pop(0)
        self.opened += 1
        self.is_open = True

    def read_into(self, frame: Frame, timeout_s: float) -> Stamp:
        self.reads += 1
        number = self._script(self.reads)
        frame[:] = number % 251
        return Stamp(number, number * 1_000_000, "device")

    def close(self) -> None:
        self.is_open = False


def spec(joints: tuple[str, ...], cameras: tuple[str, ...] = ("base", "wrist"), units: str = "rad") -> PolicySpec:
    """A policy for these joints, with 640×480 cameras."""
    vector = VectorSpec(joints, (units,) * len(joints), 32)
    return PolicySpec(
        cameras=tuple(CameraSpec(name, 480, 640) for name in cameras),
        state=vector,
        action=vector,
        horizon=HORIZON,
        dt_s=DT_NS / 1e9,
        control_mode="absolute",
        head=FlowSpec(steps=10, t_start=1.0, t_end=0.0, cache=("keys", "values")),
        prompt=PromptSpec(template="{instruction}", max_tokens=8, bos_id=None, pad_id=0),
        state_normalisation=Normalisation("none"),
        action_normalisation=Normalisation("none"),
    )


def prompt(instruction: str) -> Prompt:
    return Prompt(instruction, np.zeros(8, np.int64), np.ones(8, np.bool_))


class FakePolicy:
    """Actions are `state + step·k` for action k unless `act` says otherwise; one of 100 words is too long."""

    def __init__(self, spec_: PolicySpec, step: float = 0.01) -> None:
        self.spec = spec_
        self.frames = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in spec_.cameras}
        self.step = step
        self.seen: list[Observation] = []
        self.act: Callable[[Observation, np.ndarray], None] | None = None
        self.terminated = False

    def prompt(self, instruction: str) -> Prompt:
        if len(instruction.split()) >= 100:
            raise InstructionError("the instruction has 100 tokens, the model takes 8: say it in fewer words")
        return prompt(instruction)

    def infer(self, observation: Observation, chunk_out: np.ndarray) -> None:
        self.seen.append(Observation(dict(observation.frames), observation.state.copy(), observation.prompt))
        if self.act is not None:
            self.act(observation, chunk_out)
            return
        chunk_out[:] = observation.state + self.step * np.arange(len(chunk_out))[:, None]


class Rig:
    """The real control loop on a fake clock, one tick at a time."""

    def __init__(
        self,
        settings: Robot,
        *,
        rows: int = HORIZON,
        dt_ns: int = DT_NS,
        hand: bool = True,
        alive: Alive | None = None,
    ) -> None:
        self.robot = settings
        self.clock = FakeClock(1_000_000_000)
        self.buses = [FakeBus(bus_settings(bus), self.clock) for bus in settings.buses]
        self.cameras = [FakeFrames(camera.name, self.clock) for camera in settings.cameras]
        self.n = len(settings.joints)
        self.link = Link(rows, self.n, dt_ns)
        self.queue = EventQueue(self.clock)
        self.ticks = Ticks(20_000, self.n)
        self.petted: list[float] = []
        self.estop = FakeEstop("red button", self.clock)
        self.hand = FakeHand(self.n, self.clock)
        self.loop = ControlLoop(
            settings,
            buses=self.buses,
            cameras=self.cameras,
            link=self.link,
            events=self.queue,
            clock=self.clock,
            ticks=self.ticks,
            pet=self.petted.append,
            estops=[self.estop],
            hand=self.hand if hand else None,
            alive=alive,
        )
        self._events: list[Event] = []
        self._sequence = 0
        self.loop.pacer.begin()

    @property
    def bus(self) -> FakeBus:
        return self.buses[0]

    @property
    def mode(self) -> str:
        return str(self.loop.director.mode)

    @property
    def events(self) -> list[Event]:
        self._events += self.queue.drain()
        return self._events

    def named(self, name: str) -> list[str]:
        """Causes of the events of that name so far."""
        return [event.cause for event in self.events if event.name == name]

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.loop.pacer.wait()
            self.loop.tick()

    def until(self, mode: str, limit: int = 2_000, each: Callable[[], object] = lambda: None) -> int:
        """Tick until `mode`; how many ticks it took."""
        for count in range(limit):
            if self.mode == mode:
                return count
            each()
            self.tick()
        raise AssertionError(f"{limit} ticks and still {self.mode}, not {mode}: {self.events}")

    def say(self, command: str, instruction: str = "") -> str:
        """Give a command, tick once, return the answer."""
        order = Order(Command(command), prompt(instruction) if instruction else None)
        self.loop.orders.append(order)
        self.tick()
        assert order.answer is not None
        return order.answer

    def chunk(self, actions: Floats | None = None, age_ns: int = 100_000_000) -> None:
        """What the inference thread does: a chunk for the present request, from a frame that is `age_ns` old.

        By default actions that stay where the setpoint is.
        """
        chunk = self.link.chunks.back
        chunk.actions[:] = self.loop.buses.setpoint_rad if actions is None else actions
        chunk.capture_ns = chunk.start_ns = self.clock.now_ns() - age_ns
        chunk.ready_ns = self.clock.now_ns()
        chunk.request = self.link.request.number
        self._sequence += 1
        chunk.sequence = self._sequence
        self.link.chunks.publish()

    def fed(self) -> None:
        """A new chunk if one is asked for."""
        if self.link.request.prompt is not None:
            self.chunk()

    def run_task(self, instruction: str = "reach the red cup") -> None:
        """Armed, at the start pose, and at a task whose first chunk has come."""
        assert self.say("arm") == ""
        self.until("READY")
        assert self.say("task", instruction) == ""
        self.until("RUN (task)")
        self.chunk()
        self.tick()

    def emitted(self) -> Floats:
        """Every setpoint written to the first bus, [writes, joints]."""
        return np.array([position for _, position in self.bus.writes])
