"""The projectionist: shows takes of footage to a running robot, one after another, and tells it what to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from drivers.cameras.base import CameraSettings, Frame
from edge_runtime import null_robot
from edge_runtime.errors import EdgeError
from edge_runtime.footage import Frames, Take
from edge_runtime.limits import Floats
from edge_runtime.session import Session
from edge_runtime.states import COAST, DISARMED, READY, TASK, Command, Mode

POLL_S = 0.002
SETTLE_S = 10.0
"""Longest wait for a command's answer and for the null arm to get where it is told: it moves in milliseconds."""
CLOSING_S = 1.0
"""How long a robot that refuses a command may take to turn out to be ending."""
STATE_LEAD_NS = round(2e9 / null_robot.RATE_HZ)
"""Joints are read once a tick, frames are seen at once: a row this much sooner is what a frame of its step finds."""


class Eye(Protocol):
    """What a camera of kind `images` has beside the camera contract."""

    settings: CameraSettings

    def play(self, pictures: Frames | Sequence[Frame], start_ns: int, loop: bool = False) -> None: ...


class Commands(Protocol):
    """What was written to a null bus."""

    @property
    def t_ns(self) -> NDArray[np.int64]: ...
    @property
    def position_rad(self) -> Floats: ...


class Arm(Protocol):
    """What a bus of kind `null` has beside the bus contract."""

    def play(self, rows: Floats, rate_hz: float, start_ns: int) -> None: ...
    def commands(self) -> Commands: ...


class _Ended(Exception):
    """The robot was ended while the replay still ran."""


@dataclass(frozen=True)
class Played:
    """One episode: what it was, when it ran (CLOCK_MONOTONIC ns), and what cut it short, empty where nothing did."""

    episode: int
    instruction: str
    steps: int
    start_ns: int
    end_ns: int
    cut: str


class Projector:
    """Shows one take after another to a running robot, and tells it what to do, on a thread beside the loop."""

    def __init__(
        self,
        eyes: Sequence[Eye],
        arm: Arm,
        takes: Sequence[Take],
        rate_hz: float,
        state_units_rad: Floats,
        say: Callable[[str], None],
    ) -> None:
        self.played: list[Played] = []
        self._eyes = eyes
        self._arm = arm
        self._takes = takes
        self._rate_hz = rate_hz
        self._period_ns = round(1e9 / rate_hz)
        self._units_rad = state_units_rad
        self._say = say
        self._grid_ns = 0
        self._show_first(takes[0])

    def run(self, session: Session, over: threading.Event) -> None:
        """Arm, play every take, and return; `over` is set where the robot has ended before. Raises `EdgeError`."""
        self._session, self._over = session, over
        try:
            self._tell(Command.ARM)
            for number, take in enumerate(self._takes):
                self._say(f"episode {take.index} ({number + 1} of {len(self._takes)}): {take.instruction}")
                self._show_first(take)
                self._until(READY)
                self._tell(Command.TASK, take.instruction)
                self._until(TASK, COAST)
                self._play(take)
                self._show_first(take)
            self._until(READY)
            self._tell(Command.DISARM)
        except _Ended:
            return

    def _show_first(self, take: Take) -> None:
        """The take's first frame and state, until it is played."""
        self._grid_ns = time.monotonic_ns()
        for eye in self._eyes:
            eye.play([take.frames[eye.settings.name][0]], self._grid_ns, loop=True)
        self._arm.play(take.state[:1] * self._units_rad, self._rate_hz, self._grid_ns)

    def _play(self, take: Take) -> None:
        """The whole take, from where the next frame is due on; back to READY afterwards, whatever has happened."""
        start_ns = time.monotonic_ns()
        start_ns += (self._grid_ns - start_ns) % self._period_ns
        end_ns = start_ns + len(take) * self._period_ns
        for eye in self._eyes:
            eye.play(take.frames[eye.settings.name], start_ns)
        self._arm.play(take.state * self._units_rad, self._rate_hz, start_ns - STATE_LEAD_NS)
        cut = ""
        while not cut and time.monotonic_ns() < end_ns:
            cut = self._fault()
            self._pause()
        end_ns = max(time.monotonic_ns(), start_ns) if cut else end_ns
        cut = cut or self._ask(Command.DONE)
        self.played.append(Played(take.index, take.instruction, len(take), start_ns, end_ns, cut))
        if cut:
            self._tell(Command.RESET)
            if self._mode() == DISARMED:
                self._tell(Command.ARM)

    def _fault(self) -> str:
        """Why the robot does not run any more, empty where it does."""
        return "" if self._mode() in (TASK, COAST) else f"{self._mode()}: {self._session.loop.director.cause}"

    def _mode(self) -> Mode:
        return self._session.loop.director.mode

    def _tell(self, command: Command, instruction: str = "") -> None:
        """A command that must not be refused."""
        if refusal := self._ask(command, instruction):
            raise EdgeError(f"replay: {command.value}: {refusal}")

    def _ask(self, command: Command, instruction: str = "") -> str:
        """As a client of the control socket would: why it was refused, empty where it was done."""
        answer = self._session.handle({"cmd": command.value, "instruction": instruction})
        end_s = time.monotonic() + SETTLE_S
        while (found := answer()) is None and time.monotonic() < end_s:
            self._pause()
        if found and found["ok"]:
            return ""
        if self._over.wait(CLOSING_S):
            raise _Ended
        return str(found["error"]) if found else "no answer"

    def _until(self, *modes: Mode) -> None:
        end_s = time.monotonic() + SETTLE_S
        while self._mode() not in modes:
            if time.monotonic() > end_s:
                raise EdgeError(f"replay: the null arm is in {self._mode()} still: {self._session.loop.director.cause}")
            self._pause()

    def _pause(self) -> None:
        if self._over.wait(POLL_S):
            raise _Ended
