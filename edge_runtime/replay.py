"""Recorded footage through the real loop: its frames as cameras, its states as the arm, its instructions as tasks.

Everything between a frame and a motor command is what a robot runs: camera threads, inference, chunks, control ticks,
deadlines. Only the devices are stand-ins: cameras of kind `images` that show the footage at its own rate, and a `null`
bus that answers the recorded states and writes the commands down. What the commands mean is the policy's affair:
figures that are no joint angles (hand steps, as in BridgeData V2) are recorded as they come.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from drivers.cameras.base import CameraSettings, Frame
from edge_runtime import app, devices, null_robot
from edge_runtime.errors import EdgeError
from edge_runtime.fit import units_rad
from edge_runtime.footage import Footage, Frames, Take, camera_fields, take_episodes
from edge_runtime.limits import Floats
from edge_runtime.policy import open_policy
from edge_runtime.record import RunRecord
from edge_runtime.session import Session
from edge_runtime.states import COAST, DISARMED, READY, TASK, Command, Mode

POLL_S = 0.002
SETTLE_S = 10.0
"""Longest wait for a command's answer and for the null arm to get where it is told: it moves in milliseconds."""
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


@dataclass(frozen=True)
class Replay:
    """What a replay leaves behind. `command` [N, dims] is in the units of the policy's actions."""

    record: RunRecord
    rate_hz: float
    played: tuple[Played, ...]
    command_t_ns: NDArray[np.int64]
    command: Floats

    def episode_of(self) -> NDArray[np.int64]:
        """[N] which episode each command belongs to, -1 between two."""
        owner = np.full(len(self.command_t_ns), -1, np.int64)
        for p in self.played:
            owner[(self.command_t_ns >= p.start_ns) & (self.command_t_ns < p.end_ns)] = p.episode
        return owner

    def summary(self) -> dict[str, Any]:
        """What the report says of the replay."""
        owner = self.episode_of()
        episodes = [
            {
                "episode": p.episode,
                "instruction": p.instruction,
                "steps": p.steps,
                "seconds": round((p.end_ns - p.start_ns) / 1e9, 3),
                "commands": int((owner == p.episode).sum()),
                "cut": p.cut,
            }
            for p in self.played
        ]
        return {"replay": {"rate_hz": self.rate_hz, "episodes": episodes}}

    def text(self) -> str:
        """A line for each episode."""
        lines = [f"Footage at {self.rate_hz:g} Hz"]
        for e in self.summary()["replay"]["episodes"]:
            lines.append(
                f"  episode {e['episode']}: {e['steps']} steps in {e['seconds']:.1f} s, {e['commands']} commands"
            )
            lines[-1] += f", cut short: {e['cut']}" if e["cut"] else ""
        return "\n".join(lines)

    def save_commands(self, path: Path) -> None:
        """Write `t_ns` [N], `command` [N, dims] and `episode` [N] as an .npz file."""
        with path.open("wb") as file:
            np.savez_compressed(file, t_ns=self.command_t_ns, command=self.command, episode=self.episode_of())


def replay_frames(
    footage: Footage,
    bundle: Path,
    *,
    cameras: Mapping[str, str] | None = None,
    episodes: Collection[int] | None = None,
    rate_hz: float | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Replay:
    """Play episodes of `footage` (all for None) to the policy of `bundle`, one after another.

    `cameras` maps the policy's cameras to fields of the footage, where they have not the same name; `rate_hz` is the
    rate of its steps, where the footage does not know it. `say` is told each episode as it begins. Raises `EdgeError`
    before anything runs for a camera, a size, a dimension or an instruction that does not fit.
    """
    rate_hz = rate_hz if rate_hz is not None else footage.rate_hz
    if rate_hz is None:
        raise EdgeError(f"{footage.name}: does not record its rate: give --rate HZ (5 for BridgeData V2)")
    policy = open_policy(bundle)
    spec = policy.spec
    takes = take_episodes(footage, spec, camera_fields(spec, footage, cameras or {}), episodes)
    for take in takes:
        policy.prompt(take.instruction)
    with tempfile.TemporaryDirectory(prefix="edge-replay-") as folder:
        robot = null_robot.describe(spec, takes, rate_hz, bundle, Path(folder) / "control.sock")
        eyes = [devices.make_camera(camera) for camera in robot.cameras]
        (bus,) = [devices.make_bus(bus) for bus in robot.buses]
        arm = cast(Arm, bus)
        projector = Projector(cast(list[Eye], eyes), arm, takes, rate_hz, units_rad(robot, spec.state), say)
        record = app.run_robot(robot, policy=policy, cameras=eyes, buses=[bus], beside=projector.run)
    commands = arm.commands()
    command = commands.position_rad / units_rad(robot, spec.action)
    return Replay(record, rate_hz, tuple(projector.played), commands.t_ns, command)


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
                self.played.append(self._play(take))
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

    def _play(self, take: Take) -> Played:
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
        if cut:
            end_ns = max(time.monotonic_ns(), start_ns)
            self._tell(Command.RESET)
            if self._mode() == DISARMED:
                self._tell(Command.ARM)
        else:
            self._tell(Command.DONE)
        return Played(take.index, take.instruction, len(take), start_ns, end_ns, cut)

    def _fault(self) -> str:
        """Why the robot does not run any more, empty where it does."""
        return "" if self._mode() in (TASK, COAST) else f"{self._mode()}: {self._session.loop.director.cause}"

    def _mode(self) -> Mode:
        return self._session.loop.director.mode

    def _tell(self, command: Command, instruction: str = "") -> None:
        """As a client of the control socket would."""
        answer = self._session.handle({"cmd": command.value, "instruction": instruction})
        end_s = time.monotonic() + SETTLE_S
        while (found := answer()) is None and time.monotonic() < end_s:
            self._pause()
        if not found or not found["ok"]:
            raise EdgeError(f"replay: {command.value}: {found['error'] if found else 'no answer'}")

    def _until(self, *modes: Mode) -> None:
        end_s = time.monotonic() + SETTLE_S
        while self._mode() not in modes:
            if time.monotonic() > end_s:
                raise EdgeError(f"replay: the null arm is in {self._mode()} still: {self._session.loop.director.cause}")
            self._pause()

    def _pause(self) -> None:
        if self._over.wait(POLL_S):
            raise _Ended
