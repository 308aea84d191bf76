"""The robot in the container: the service, the simulated arm under it, and the person who commands it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.boot.container import Container, Done
from benchmarks.boot.results import Wrong, until
from drivers.sim import trace
from drivers.sim.process import SimProcess
from edge_runtime import control_socket
from edge_runtime.deploy import places
from edge_runtime.errors import CommandError

SIM = Path("/run/edge-sim")
TRACE = SIM / "trace.npy"
OPERATOR, STRANGER = "ada", "eve"
"""Users of the robot: one is a member of the group edge."""
SAFE = [False, False, False, False, False, True]
"""Torque of the servos after the safe action of an arm that had it: the gripper, the last, holds."""
NOTHING = "no answer"
TRIES = 3
READY_S, STATE_S, SAFE_S = 60.0, 20.0, 30.0


class Robot:
    """Asks and commands it from outside, and waits for what is to come."""

    def __init__(self, box: Container) -> None:
        self.box = box
        self.faults: list[str] = []
        """What kept it from a task that it was to begin."""

    def judge(self, **command: Any) -> dict[str, Any]:
        """One command to the simulator's judge, and its answer."""
        return SimProcess(self.box.path(SIM)).ask(**command)

    def rows(self, since_ns: int = 0) -> Any:
        """What the servos were told and did since then (`drivers.sim.trace.ROW`)."""
        rows = trace.read(self.box.path(TRACE))
        return rows[rows["t_ns"] >= since_ns]

    def status(self) -> dict[str, Any]:
        """What `edge status` says; `CommandError` where nothing answers."""
        return control_socket.send(self.box.path(places.SOCKET), {"cmd": "status"})

    def state(self) -> str:
        """Its state and the phase of its episode, or what stopped it, or why it says nothing."""
        try:
            told = self.status()
        except CommandError as error:
            return f"{NOTHING}: {error}"
        detail = told["phase"] or (told["cause"] if told["state"] in ("HOLD", "SAFE") else "")
        return f"{told['state']} ({detail})" if detail else str(told["state"])

    def service(self) -> dict[str, str]:
        """The unit as systemd sees it."""
        return self.box.unit(places.SERVICE)

    def edge(self, *command: str, user: str = OPERATOR) -> Done:
        """`edge` on the robot, as a user with this name types it."""
        return self.box.run(places.EDGE.name, *command, user=user)

    def say(self, *command: str) -> None:
        """The same as the operator; `Wrong` where it is refused."""
        done = self.edge(*command)
        if done.code:
            raise Wrong(f"edge {' '.join(command)}: {done.output}; it is {self.state()}")

    def wait_for(self, state: str, limit_s: float = STATE_S) -> float:
        """Until it is in that state; how long that took, in seconds."""
        return until(lambda: self.state() == state, limit_s, lambda: f"it is {self.state()}, not {state}")

    def wait_ready(self, limit_s: float = READY_S) -> float:
        """Until the service has said READY; how long that took, in seconds."""
        return until(
            lambda: self.service()["ActiveState"] == "active", limit_s, lambda: f"service: {self.last_words()}", 0.1
        )

    def last_words(self) -> str:
        """State of the service and its last line in the journal."""
        unit = self.service()
        journal = self.box.run("journalctl", "--unit", places.SERVICE, "--lines=2", "--output=cat", "--no-pager")
        return f"{unit['ActiveState']} ({unit['Result']}): {journal.output}"

    def begin_anew(self) -> None:
        """The service runs, whatever happened before; its start limit counts from here on."""
        self.box.run("systemctl", "reset-failed", places.SERVICE)
        hangs = self.service()["ActiveState"] == "active" and self.state().startswith(NOTHING)
        self.box.run("systemctl", "restart" if hangs else "start", "--no-block", places.SERVICE)
        self.wait_ready()

    def arm(self) -> None:
        """Torque on and at the start pose, by the operator, whatever was before."""
        self.begin_anew()
        if self.state() == "READY":
            return
        if self.state() != "DISARMED":  # a fault of an earlier trial: it is no part of this one
            self.box.sure("systemctl", "restart", places.SERVICE)
        self.say("arm")
        self.wait_for("READY")

    def work(self, instruction: str = "") -> None:
        """In the midst of a task; by default one that the table in front of it allows.

        A machine that stands still for long is a fault to the robot: it is begun anew then, and `faults` says so.
        """
        instruction = instruction or self.judge(cmd="state")["cups"][0]["instruction"]
        for left in reversed(range(TRIES)):
            try:
                self.arm()
                self.say("task", instruction)
                self.wait_for("RUN (task)")
            except Wrong as fault:
                self.faults.append(str(fault))
                if not left:
                    raise
            else:
                return

    def kill(self, signal: str) -> tuple[int, int]:
        """Send the service's main process a signal: its process id, and when, in ns of CLOCK_MONOTONIC."""
        pid = int(self.service()["MainPID"])
        self.box.sure("kill", f"-{signal}", str(pid))
        return pid, time.monotonic_ns()

    @property
    def torque(self) -> list[bool]:
        """Of each servo, as it is."""
        return list(self.judge(cmd="state")["torque_on"])

    def safe_after_s(self, since_ns: int, limit_s: float = SAFE_S) -> float:
        """Until the arm was let go, the gripper not; when, in seconds after `since_ns`, by what the servos recorded."""
        until(lambda: self.torque == SAFE, limit_s, lambda: f"not safe: torque of the servos {self.torque}")
        rows = self.rows(since_ns)
        powered = rows["t_ns"][rows["torque_on"][:, :-1].any(axis=1)]
        return float(powered[-1] - since_ns) / 1e9 if len(powered) else 0.0

    def restarted_s(self, pid: int, since_ns: int) -> float:
        """Until another process is READY; when systemd heard it, in seconds after `since_ns`."""

        def again() -> bool:
            unit = self.service()
            return unit["ActiveState"] == "active" and unit["MainPID"] not in ("0", str(pid))

        until(again, READY_S, lambda: f"no new start: {self.last_words()}", 0.1)
        return int(self.service()["ActiveEnterTimestampMonotonic"]) / 1e6 - since_ns / 1e9
