"""The motor bus contract: what the control thread asks of a line of motors.

A driver file `drivers/motors/<kind>.py` defines one subclass of `MotorBus` named `Bus`.
Positions are radians in the joint's own frame; a driver turns them into its register units with `zero_step` and
`direction`. Deadlines are absolute CLOCK_MONOTONIC nanoseconds and cover a whole call; a call that would pass its
deadline raises `drivers.errors.Timeout`. Calls raise only `drivers.errors.DriverError` and its subclasses.
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from drivers.errors import DriverError
from drivers.suggest import did_you_mean
from drivers.tap import Tap

Floats = NDArray[np.float64]
SafeAction = Literal["hold", "release"]


@dataclass(frozen=True)
class MotorSettings:
    """One motor as the robot's owner describes it."""

    name: str
    id: int
    model: str
    zero_step: int
    """Encoder count at joint angle zero."""
    direction: int
    """+1 or -1: the sign of the joint angle for growing encoder counts."""
    range_rad: tuple[float, float]
    safe: SafeAction
    """What `safe_action` does with it: keep torque at the present position, or let go."""
    stiffness: float = 0.0
    """Torque per position error, N·m/rad; 0 where not given. For buses with `GAINS` only."""
    damping: float = 0.0
    """Torque per velocity error, N·m·s/rad; 0 where not given. For buses with `GAINS` only."""
    torque_limit: float = 1.0
    """Most torque, as a share of what the motor itself is set to; below 1 for buses with `TORQUE_LIMIT` only."""


@dataclass(frozen=True)
class BusSettings:
    """One bus: a name for messages, a port, a line speed in bit/s and its motors in joint order."""

    name: str
    port: str
    baud: int
    motors: tuple[MotorSettings, ...]


@dataclass(frozen=True)
class Identity:
    """What tells this motor from another one: read from the motor itself, the same after its supply was off."""

    model: str
    """As robot.toml names it; `unknown (<number>)` where the driver knows no such model."""
    firmware: str
    """As the vendor writes versions; empty where the motor does not say."""
    homing: int
    """Homing offset that is kept in the motor, encoder counts: what `center` has left there."""


class MotorState:
    """The bus's last answer, in arrays that are allocated once. `stamp_ns` is when the answer was complete."""

    def __init__(self, n: int) -> None:
        self.position_rad: Floats = np.zeros(n)
        self.velocity_rad_s: Floats = np.zeros(n)
        self.current_a: Floats = np.zeros(n)
        self.temperature_c: Floats = np.zeros(n)
        self.voltage_v: Floats = np.zeros(n)
        self.stamp_ns: int = 0


class Cycle(ctypes.Structure):
    """One serial cycle of a bus as bytes, for whoever sends and receives those of all buses outside Python.

    The bus says with `say` what is to go over the line; whoever does it says how far it got, nothing to everything.
    In C it is `struct bus` of edge_runtime/exchange.c.
    """

    _fields_ = [
        ("fd", ctypes.c_int64),
        ("setpoints_at", ctypes.c_void_p),
        ("setpoints_size", ctypes.c_int64),
        ("question_at", ctypes.c_void_p),
        ("question_size", ctypes.c_int64),
        ("answers_at", ctypes.c_void_p),
        ("stale_at", ctypes.c_void_p),
        ("room", ctypes.c_int64),
        ("expected", ctypes.c_int64),
        ("read_ns", ctypes.c_int64),
        ("sent", ctypes.c_int64),
        ("asked", ctypes.c_int64),
        ("discarded", ctypes.c_int64),
        ("received", ctypes.c_int64),
        ("answered_ns", ctypes.c_int64),
        ("usual_ns", ctypes.c_int64),
    ]
    fd: int
    expected: int
    """Bytes that answer the question, as a rule."""
    read_ns: int
    """How long after the slot has come they are waited for."""
    sent: int
    """Bytes of the setpoints that are gone."""
    asked: int
    """Bytes of the question that are gone, which none is before the setpoints are."""
    discarded: int
    """Bytes that had come before the question was asked: in the second half of the room for answers."""
    received: int
    """Bytes that have come since: in its first half."""
    answered_ns: int
    """When the last of those expected came."""

    def __init__(self, answers: bytearray) -> None:
        """`answers`: the room for them."""
        super().__init__()
        self.setpoints: bytes | bytearray = b""
        """What nobody answers; empty where only the question is to be asked."""
        self.question = b""
        self._kept: dict[int, tuple[object, int]] = {}
        self.room = len(answers) // 2
        self.answers_at = self._address(answers)
        self.stale_at = self._address(answers) + self.room

    def say(self, fd: int, setpoints: bytes | bytearray, question: bytes, expected: int) -> None:
        """What is to go over `fd`, which does not block, and how many bytes are expected back."""
        self.fd, self.expected = fd, expected
        if setpoints is not self.setpoints:
            self.setpoints = setpoints
            self.setpoints_at, self.setpoints_size = self._address(setpoints), len(setpoints)
        if question is not self.question:
            self.question = question
            self.question_at, self.question_size = self._address(question), len(question)

    def _address(self, data: bytes | bytearray) -> int:
        """Where `data` is; it is kept from now on, so that it stays there."""
        kept = self._kept.get(id(data))
        if kept is None:
            if isinstance(data, bytearray):
                place = (ctypes.c_char * len(data)).from_buffer(data)  # nobody can resize it from now on
                kept = place, ctypes.addressof(place)
            else:
                kept = data, ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
            self._kept[id(data)] = kept
        return kept[1]


class MotorBus(ABC):
    """A line of motors. Construct, `connect`, then any call; `disconnect` is safe at any time, and twice."""

    MODELS: ClassVar[tuple[str, ...]] = ()
    """Its motors' models, by the name that robot.toml uses; any where empty."""
    BAUDS: ClassVar[tuple[int, ...]] = ()
    """Line speeds that its motors have, bit/s; any where empty."""
    GAINS: ClassVar[bool] = False
    """Each setpoint carries `stiffness` and `damping`, which must then be given; other protocols have no such thing."""
    TORQUE_LIMIT: ClassVar[bool] = False
    """Its motors keep a `torque_limit`."""
    CURRENT_EACH_CYCLE: ClassVar[bool] = False
    """`read_state` fills the currents too, because the motors' answer has them anyway."""

    def __init__(self, settings: BusSettings) -> None:
        self.settings = settings
        self.state = MotorState(len(settings.motors))
        self.notes: list[str] = []
        """What `connect` found that works and could be better, and what to do: one line each, for people."""
        self.told = 0
        """Where `write_setpoints` raised: how many motors, in their order, it had told before. None in one packet."""

    def check(self) -> None:
        """Raise `DriverError` for settings that no such motors can have. Touches no device; `connect` begins with it.

        The constructor lets them pass: a safe action is tried whatever robot.toml says.
        """
        settings, label = self.settings, f"bus {self.settings.name}"
        if self.BAUDS and settings.baud not in self.BAUDS:
            near = min(self.BAUDS, key=lambda rate: abs(rate - settings.baud))
            raise DriverError(f"{label}: no {self._kind} motor runs at {settings.baud} bit/s, did you mean {near}?")
        for motor in settings.motors:
            if problem := self._foreign(motor) or self._problem(motor):
                raise DriverError(f"{label}: joint '{motor.name}' (id {motor.id}): {problem}")

    def _problem(self, motor: MotorSettings) -> str:  # noqa: ARG002  some take anything
        """What else of one motor's settings, its model being known, none of its kind can have; empty if nothing."""
        return ""

    def _foreign(self, motor: MotorSettings) -> str:
        """What belongs to motors of another kind."""
        if self.MODELS and motor.model not in self.MODELS:
            return f"there is no {self._kind} motor '{motor.model}'{did_you_mean(motor.model, self.MODELS)}"
        keys = [key for key in ("stiffness", "damping") if getattr(motor, key) and not self.GAINS]
        keys += ["torque_limit"] if motor.torque_limit != 1.0 and not self.TORQUE_LIMIT else []
        return f"{self._kind} motors take no {keys[0]}: leave it out" if keys else ""

    @property
    def _kind(self) -> str:
        return type(self).__module__.rpartition(".")[2]

    @property
    def read_wire_s(self) -> float:
        """Longest that the bytes of one `read_state` take on the line itself, s; 0 where the driver does not know."""
        return 0.0

    def show(self, tap: Tap) -> None:  # noqa: B027  a bus without a line has nothing to show
        """Show `tap` every byte that goes over the line from now on."""

    @abstractmethod
    def connect(self, deadline_ns: int) -> None:
        """Open the port, find every motor, check its model, mode and limits, read the present state.

        Changes nothing in a motor that answers; torque stays as found. May be called again at any time, and then
        checks everything again.
        """

    @abstractmethod
    def identify(self, index: int, deadline_ns: int) -> Identity:
        """Ask one motor who it is."""

    @abstractmethod
    def center(self, index: int, deadline_ns: int) -> None:
        """Make one motor's present position the middle of its encoder, for good: its homing offset changes.

        For calibration, with torque off; raises `ProtocolError` where that motor's torque is on.
        """

    def tune(self, deadline_ns: int) -> None:  # noqa: B027  most motors have nothing of the kind
        """Change for good what makes motors answer late, once it is sure that they are the right ones; see `notes`."""

    @abstractmethod
    def aim(self, deadline_ns: int) -> bool:
        """Set every goal to the present position and every torque limit as given; torque stays on or off as it is.

        Whether any motor has torque already. The limit stays in the motor until its supply goes, or the next `aim`.
        Raises `ProtocolError` for a motor that stands where it may not or does not take its goal or its limit.
        """

    @abstractmethod
    def enable_torque(self, deadline_ns: int) -> None:
        """`aim`, then switch torque on: nothing moves. What `aim` raises comes before any torque."""

    def watch(self, deadline_ns: int) -> None:  # noqa: B027  most motors cannot
        """Have motors with torque watch for a host that falls silent, until it is switched off or the safe action.

        For when all of an arm has torque: from then on setpoints must come.
        """

    @abstractmethod
    def disable_torque(self, deadline_ns: int) -> None:
        """Switch torque off on every motor."""

    @abstractmethod
    def write_setpoints(self, position_rad: Floats, deadline_ns: int) -> None:
        """Send one position [n] to each motor, in one packet where the protocol has one. Allocates nothing lasting.

        Where motors are told one after another, `told` says how far it got when it raises.
        """

    @abstractmethod
    def read_state(self, deadline_ns: int) -> None:
        """Fill position, velocity and stamp of `state`; the currents too where `CURRENT_EACH_CYCLE` says so."""

    def stage(self, position_rad: Floats | None) -> Cycle | None:  # noqa: ARG002
        """What `write_setpoints`, unless that is None, and `read_state` would send; None where that is not bytes.

        The cycle is the bus's own, and valid until the next call of any kind. Sends nothing.
        """
        return None

    def finish_setpoints(self, cycle: Cycle, deadline_ns: int) -> None:  # noqa: B027
        """What `write_setpoints` has left to do after the cycle that `stage` gave."""

    def finish_state(self, cycle: Cycle, deadline_ns: int) -> None:  # noqa: B027
        """The same for `read_state`."""

    @abstractmethod
    def read_health(self, index: int, deadline_ns: int) -> None:
        """Fill current, temperature and voltage of one motor in `state`; raise `Overload` if it reports a fault."""

    @abstractmethod
    def safe_action(self, deadline_ns: int) -> None:
        """Do each motor's declared safe action: try every motor, whatever others answer, then raise the first error.

        A motor that is to hold keeps its torque at the present position; one whose torque is off stays limp.

        Opens the port where `connect` has not: after a crash this is the only call that is made.
        """

    @abstractmethod
    def disconnect(self) -> None:
        """Close the port. Never changes torque."""
