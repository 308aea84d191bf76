"""The black box: the last seconds of a run, always in memory, written as MCAP on every HOLD and SAFE.

Nothing is written here. The rings are shared with a process of their own (`process`), which is told when to
write: so the control thread never shares its interpreter with the writing, and a run that is killed has a black box.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from drivers.motors.base import MotorBus
from edge_runtime import machine
from edge_runtime.arena import Arena
from edge_runtime.black_box.frames import FrameKeeper
from edge_runtime.black_box.incident import Header, Trigger
from edge_runtime.black_box.process import END, Answer, Start
from edge_runtime.black_box.rings import Rings
from edge_runtime.clock import Clock
from edge_runtime.config import Robot
from edge_runtime.errors import one_line
from edge_runtime.events import Report
from edge_runtime.observation import CameraThread
from edge_runtime.realtime import RealtimeReport
from edge_runtime.record import Event
from edge_runtime.recording import seal
from edge_runtime.states import State

FAULTS = (State.HOLD.name, State.SAFE.name)
CONTROL_FAILED = "control failed"
AFTER_NS = 1_000_000_000
"""What follows belongs to it: a stop takes half a second."""
JOIN_S = 15.0
"""How long the end of the run waits for what is being written; the process goes on by itself after that."""
ASKS_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Whoever ends the service or the session asks its processes all together; the black box's ends after the run."""
CAUSE = 500
"""Most characters of a cause that the process is told."""


class BlackBox:
    """Owns the rings' memory and the process. `see` and `turn` are the housekeeping thread's."""

    def __init__(self, robot: Robot, rows: int, *, clock: Clock, report: Report, closing: Callable[[], str]) -> None:
        """`rows` of a chunk; `closing` says why the run ends, empty while it does not: its end is no incident.

        Raises `EdgeError` where there is not so much memory.
        """
        self._robot = robot
        self._clock = clock
        self._report = report
        self._closing = closing
        self._pending: Trigger | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""
        self._gone = False
        self._frames: FrameKeeper | None = None
        self.written = 0
        self.failed = 0
        self.arena = Arena("edge black box")
        self.rings = Rings.of(robot, rows, self.arena.array)

    def counts(self) -> dict[str, int]:
        """Files written, and files that could not be."""
        return {"black boxes written": self.written, "black boxes failed": self.failed}

    def start(self, buses: Sequence[MotorBus], cameras: Sequence[CameraThread]) -> None:
        """Start the process, and look on at buses and cameras. Before the control thread is a real-time one."""
        for bus, tap in zip(buses, self.rings.taps, strict=True):
            bus.show(tap)
        start = Start(
            descriptor=self.arena.descriptor,
            layout=self.arena.layout,
            header=header(self._robot, time.time_ns() - self._clock.now_ns()),
            folder=str(Path(self._robot.black_box.folder).absolute()),
            files=self._robot.black_box.files,
        )
        self._process = process = _spawn(self.arena.descriptor)
        self._tell(start)
        os.set_blocking(_pipe(process.stdin).fileno(), False)
        os.set_blocking(_pipe(process.stdout).fileno(), False)
        if self._robot.black_box.frames_hz:
            self._frames = FrameKeeper(
                cameras,
                self.rings.frames,
                frames_hz=self._robot.black_box.frames_hz,
                clock=self._clock,
                report=self._report,
            )
            self._frames.start()

    def see(self, event: Event) -> None:
        """Keep an event; a HOLD or SAFE is an incident, to be written a little later."""
        self.rings.events.add(event)
        state = event.name.partition(" ")[0]
        if event.name != CONTROL_FAILED and (state not in FAULTS or event.cause == self._closing()):
            return
        if self._pending is None:
            self._pending = Trigger(State.SAFE.name if event.name == CONTROL_FAILED else state, event.cause, event.t_ns)
        elif state == State.SAFE.name:  # it came of the same
            self._pending = msgspec.structs.replace(self._pending, state=state)

    def turn(self) -> None:
        """Have written what is due, and say what was."""
        if self._process is None:
            return
        if not self._gone and self._process.poll() is not None:
            self._gone = True
            self._fail(f"its process has ended with exit code {self._process.returncode}: start again to have one")
        if self._pending is not None and self._clock.now_ns() - self._pending.t_ns >= AFTER_NS:
            self._write(self._pending)
        self._hear()

    def stop(self) -> None:
        """Have written what waits, and end; twice is no different."""
        if self._frames is not None:
            self._frames.stop()
        if self._process is not None:
            if self._pending is not None:
                self._write(self._pending)
            self._tell(Trigger(END, "", 0))
            self._wait(self._process)
            self._process = None
        self.arena.close()

    def _write(self, trigger: Trigger) -> None:
        self._pending = None
        if not self._tell(msgspec.structs.replace(trigger, cause=one_line(trigger.cause, CAUSE))):
            self._fail("its process has gone or hangs")

    def _tell(self, message: Start | Trigger) -> bool:
        """Whether the process could be told."""
        assert self._process is not None
        line = msgspec.json.encode(message) + b"\n"
        try:
            return os.write(_pipe(self._process.stdin).fileno(), line) == len(line)
        except OSError:
            return False

    def _hear(self) -> None:
        """Say what the process has answered."""
        assert self._process is not None
        with suppress(BlockingIOError):
            self._said += os.read(_pipe(self._process.stdout).fileno(), 65_536)
        *lines, self._said = self._said.split(b"\n")
        for answer in (msgspec.json.decode(line, type=Answer) for line in lines):
            if answer.file:
                self.written += 1
                self._report("black box", answer.file)
            else:
                self._fail(answer.failure)

    def _fail(self, why: str) -> None:
        self.failed += 1
        self._report("black box failed", why)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """For the process to end, and for all it says."""
        with suppress(OSError):
            _pipe(process.stdin).close()
        try:
            process.wait(JOIN_S)
        except subprocess.TimeoutExpired:
            self._fail(f"it takes longer than {JOIN_S:g} s to write")
        self._hear()
        _pipe(process.stdout).close()


def _spawn(descriptor: int) -> subprocess.Popen[bytes]:
    """The process, which is handed `descriptor`. What asks this one to end is blocked in it for good."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ASKS_TO_END)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "edge_runtime.black_box.process"],
            cwd=Path(__file__).parents[2],  # ours are imported from there, whatever lies where the robot was started
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(descriptor,),
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def header(robot: Robot, wall_ns: int) -> Header:
    """What the black boxes of a run all say; `wall_ns`: the wall clock minus CLOCK_MONOTONIC."""
    return Header(
        robot=robot.name,
        rate_hz=robot.control.rate_hz,
        joints=robot.joint_names,
        states=tuple(state.name for state in State),
        cameras=tuple(camera.name for camera in robot.cameras),
        buses=tuple(bus.name for bus in robot.buses),
        seconds=robot.black_box.seconds,
        wall_ns=wall_ns,
        config=msgspec.to_builtins(robot),
        seal=seal(Path(robot.policy.bundle)),
        machine=machine.describe(RealtimeReport((), ())),
    )


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
