"""The simulated robot and the program that drives it, each a process of its own, seen and spoken to from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from benchmarks.demo.process import RobotProcess
from drivers.sim import trace
from drivers.sim.process import SimProcess
from edge_runtime import config, control_socket
from edge_runtime.errors import CommandError, EdgeError

ROOT = Path(__file__).resolve().parents[2]
SEED = 3
POLL_S = 0.01
START_S, STATE_S = 20.0, 12.0
"""Longest wait for the program to come up, and for a state."""
ENDED = "ended"


class Seen(NamedTuple):
    """What a look from outside has found, and when."""

    t_ns: int
    state: str
    """As in `edge status`, or `ENDED`."""
    cause: str
    counters: dict[str, int]


class Rig:
    """`with Rig(folder) as rig:` the simulator runs; `start` and `end` the program as often as you like."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = folder / "robot.toml"
        self.trace = folder / "trace.npy"
        self.disk = folder / "disk"
        """Where report, log and recording of the program go."""
        self.sim = SimProcess(folder, SEED, self.trace)
        self._parts = ExitStack()
        self._robot: RobotProcess | None = None
        self.reports: list[dict[str, Any]] = []
        """Of each time that the program ended properly."""

    def __enter__(self) -> Rig:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.disk.mkdir()
        for name in ("robot.toml", "arm.urdf"):
            text = resources.files("drivers.sim").joinpath(name).read_text(encoding="utf-8")
            (self.folder / name).write_text(text.replace("timeout_s = 15.0", "timeout_s = 3600.0"), encoding="utf-8")
        self.config = config.load(self.settings)
        os.mkfifo(self.folder / "orders")
        self._parts.enter_context(self.sim)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.drop()
        self._parts.close()

    @property
    def runs(self) -> bool:
        """Whether the program has been started and not been ended."""
        return self._robot is not None

    @property
    def oldest_ms(self) -> float:
        """Age of the oldest frame behind any setpoint, as the program has recorded it while it ended properly."""
        return max((report["sensor_to_motor_ms"]["max"] or 0.0 for report in self.reports), default=0.0)

    @property
    def pid(self) -> int:
        assert self._robot is not None
        return self._robot.process.pid

    @property
    def log(self) -> str:
        """Everything that the program has said."""
        return (self.disk / "run.log").read_text(encoding="utf-8", errors="replace")

    def start(self, *more: str) -> None:
        """From nothing to the midst of a task; `more` for `edge run`."""
        program = ("-m", "benchmarks.faults.edge", str(self.folder / "orders"))
        self._robot = RobotProcess(self.settings, self.disk, program, more)
        self._robot.__enter__()
        self.until("DISARMED", START_S)
        self.say("arm")
        self.run_task()

    def run_task(self) -> None:
        """From torque on to the midst of a task."""
        self.until("READY")
        self.say("task", instruction="sway")
        self.until("RUN (task)")

    def end(self) -> None:
        """As with Ctrl-C. `EdgeError` where that did not go well."""
        robot, self._robot = self._robot, None
        if robot is not None:
            robot.end(10.0)
            self.reports.append(json.loads((self.disk / "report.json").read_text(encoding="utf-8")))

    def drop(self) -> None:
        """End the program one way or the other."""
        with suppress(EdgeError):
            self.end()

    def forget(self) -> int:
        """The program has ended by itself: its exit code, below zero for a signal."""
        robot, self._robot = self._robot, None
        assert robot is not None
        return robot.process.wait(1.0)

    def say(self, command: str, **arguments: Any) -> dict[str, Any]:
        """A command on its control socket, and its answer; `CommandError` where it is refused."""
        return control_socket.send(self.folder / "control.sock", {"cmd": command, **arguments})

    def say_when_ready(self, command: str) -> None:
        """The same, again while it is refused: the arm still stops, or a plug has only just been put in."""
        end_s = time.monotonic() + STATE_S
        while True:
            try:
                self.say(command)
                return
            except CommandError:
                if time.monotonic() > end_s:
                    raise
            time.sleep(10 * POLL_S)

    def order(self, line: str) -> None:
        """Tell the saboteur (`benchmarks.faults.edge`)."""
        with (self.folder / "orders").open("w") as orders:
            orders.write(f"{line}\n")

    def look(self) -> Seen:
        """The present state; it takes as long as the program takes to answer."""
        assert self._robot is not None
        while self._robot.process.poll() is None:
            with suppress(CommandError):  # between the end of its socket and its own
                told = self.say("status")
                state = f"{told['state']} ({told['phase']})" if told["phase"] else told["state"]
                return Seen(time.monotonic_ns(), state, told["cause"], told["counters"])
            time.sleep(POLL_S)
        return Seen(time.monotonic_ns(), ENDED, f"exit code {self._robot.process.returncode}", {})

    def watch(self, enough: Callable[[Seen], bool], seconds: float) -> list[Seen]:
        """Look again and again until `enough` or `seconds` have passed."""
        end_s, seen = time.monotonic() + seconds, [self.look()]
        while not enough(seen[-1]) and time.monotonic() < end_s:
            time.sleep(POLL_S)
            seen.append(self.look())
        return seen

    def until(self, state: str, seconds: float = STATE_S) -> None:
        """Wait for `state`; `EdgeError` where it never comes."""
        last = self.watch(lambda seen: seen.state in (state, ENDED), seconds)[-1]
        if last.state != state:
            raise EdgeError(f"never {state} within {seconds:g} s, but {last.state}: {last.cause}\n{self.log[-2000:]}")

    def safe_stop(self) -> str:
        """What the service runs after a failure; its answer. `EdgeError` where a bus does not confirm."""
        command = [sys.executable, "-m", "edge_runtime.safe_stop", str(self.settings)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=30.0)
        if done.returncode:
            raise EdgeError(f"edge safe-stop: {done.stderr.strip()}")
        return done.stdout.strip()

    def rows(self, since_ns: int) -> Any:
        """The simulator's trace since then (`drivers.sim.trace.ROW`)."""
        rows = trace.read(self.trace)
        return rows[rows["t_ns"] >= since_ns]
