"""The black box: the last seconds of a run, always in memory, written as MCAP on every HOLD and SAFE.

Nothing is written here. The rings are shared with a process of their own (`process`), which is told when to
write: so the control thread never shares its interpreter with the writing, and a run that is killed has a black box.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from drivers.masked import masked
from drivers.motors.base import MotorBus
from edge_runtime import machine
from edge_runtime.arena import Arena
from edge_runtime.black_box.frames import FrameKeeper
from edge_runtime.black_box.incident import Header, Trigger
from edge_runtime.black_box.process import Start
from edge_runtime.black_box.rings import Rings
from edge_runtime.black_box.writer import WriterProcess
from edge_runtime.clock import Clock
from edge_runtime.config import Robot
from edge_runtime.errors import one_line
from edge_runtime.events import Report
from edge_runtime.observation import CameraThread
from edge_runtime.realtime import RealtimeReport
from edge_runtime.record import Event
from edge_runtime.recording import seal
from edge_runtime.states import State
from edge_runtime.watchdog import HUNG, LOST

FAULTS = (State.HOLD.name, State.SAFE.name)
ENDINGS = ("control failed", HUNG, LOST)
"""Events that are no state: the run ends in SAFE after them."""
AFTER_NS = 1_000_000_000
"""What follows belongs to it: a stop takes half a second."""
JOIN_S = 15.0
"""How long the end of the run waits for what is being written; the process goes on by itself after that."""
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
        self._start: Start | None = None
        self._writer: WriterProcess | None = None
        self._mourned = False
        """Whether it was said that the process has ended."""
        self._told: list[Trigger] = []
        """What the process has not answered yet."""
        self._tried_again_ns = -1
        """The trigger that two processes were told of."""
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
        self._start = Start(
            descriptor=self.arena.descriptor,
            layout=self.arena.layout,
            header=header(self._robot, time.time_ns() - self._clock.now_ns()),
            folder=str(Path(self._robot.black_box.folder).absolute()),
            files=self._robot.black_box.files,
        )
        self._writer = WriterProcess(self._start)
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
        if event.name not in ENDINGS and (state not in FAULTS or event.cause == self._closing()):
            return
        if self._pending is None:
            self._pending = Trigger(State.SAFE.name if event.name in ENDINGS else state, event.cause, event.t_ns)
        elif state == State.SAFE.name:  # it came of the same
            self._pending = msgspec.structs.replace(self._pending, state=state)

    def turn(self) -> None:
        """Have written what is due, and say what was."""
        if self._writer is None:
            return
        self._hear(self._writer)
        self._look_after(self._writer)
        if self._pending is not None and self._clock.now_ns() - self._pending.t_ns >= AFTER_NS:
            self._write_pending()

    def stop(self) -> None:
        """Have written what waits, and end; twice is no different."""
        if self._frames is not None:
            self._frames.stop()
        if self._writer is not None:
            self._hear(self._writer)
            self._look_after(self._writer)
            self._write_pending()
            self._finish(self._writer)
            self._writer = None
        self.arena.close()

    def _write_pending(self) -> None:
        trigger, self._pending = self._pending, None
        if trigger is not None:
            self._write(msgspec.structs.replace(trigger, cause=one_line(trigger.cause, CAUSE)))

    def _write(self, trigger: Trigger) -> None:
        """Tell the process, another one where it has ended."""
        assert self._start is not None
        assert self._writer is not None
        self._look_after(self._writer)
        if self._mourned:
            try:
                self._writer = WriterProcess(self._start)
            except OSError as error:
                self._fail(f"no process can be started: {one_line(error)}")
                return
            self._mourned = False
        self._told.append(trigger)
        if not self._writer.tell(trigger):
            self._fail("its process has gone or hangs")

    def _look_after(self, writer: WriterProcess) -> None:
        """Where the process has ended in the midst of a black box, another one tries that once more."""
        code = writer.ended()
        if code is None or self._mourned:
            return
        self._hear(writer)
        self._mourned = True
        self._fail(f"its process has ended with exit code {code}; another one writes the next")
        writer.close()
        again, self._told = [one for one in self._told if one.t_ns != self._tried_again_ns], []
        if again:
            self._tried_again_ns = again[0].t_ns
        for trigger in again:
            self._write(trigger)

    def _hear(self, writer: WriterProcess) -> None:
        """Say what the process has answered."""
        if self._mourned:
            return
        for answer in writer.answers():
            self._told = [one for one in self._told if one.t_ns != answer.t_ns]
            if answer.file:
                self.written += 1
                self._report("black box", answer.file)
            else:
                self._fail(answer.failure)

    def _fail(self, why: str) -> None:
        self.failed += 1
        self._report("black box failed", why)

    def _finish(self, writer: WriterProcess) -> None:
        """Wait for the process to end, and for all it says."""
        if self._mourned:
            return
        in_time = writer.finish(JOIN_S)
        self._hear(writer)
        if not in_time:
            self._fail(f"it takes longer than {JOIN_S:g} s to write")
        elif self._told:
            self._fail(f"its process has ended with exit code {writer.ended()}")
        writer.close()


def header(robot: Robot, wall_ns: int) -> Header:
    """What the black boxes of a run all say; `wall_ns`: the wall clock minus CLOCK_MONOTONIC.

    They leave the machine, so cameras are there without their passwords.
    """
    cameras = tuple(msgspec.structs.replace(camera, device=masked(camera.device)) for camera in robot.cameras)
    return Header(
        robot=robot.name,
        rate_hz=robot.control.rate_hz,
        joints=robot.joint_names,
        states=tuple(state.name for state in State),
        cameras=tuple(camera.name for camera in robot.cameras),
        buses=tuple(bus.name for bus in robot.buses),
        seconds=robot.black_box.seconds,
        wall_ns=wall_ns,
        config=msgspec.to_builtins(msgspec.structs.replace(robot, cameras=cameras)),
        seal=seal(Path(robot.policy.bundle)),
        machine=machine.describe(RealtimeReport((), ())),
    )
