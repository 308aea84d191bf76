"""`edge run` as a user starts it, and its control socket."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from edge_runtime import control_socket
from edge_runtime.errors import EdgeError

EDGE = ("-m", "edge_runtime")
POLL_S = 0.05


class RobotProcess:
    """`with RobotProcess(robot_toml, report_dir) as robot:` — ended with the block if `end` was not called before."""

    def __init__(self, settings: Path, report: Path, program: Sequence[str] = EDGE, more: Sequence[str] = ()) -> None:
        """`program` is what Python runs for `edge`, `more` what `edge run` is told besides."""
        self._socket = settings.parent / "control.sock"
        self._log = report / "run.log"
        """Its standard error: a pipe that nobody reads would fill up and hold its control socket up."""
        self._command = [sys.executable, *program, "run", str(settings), "--report", str(report), *more]

    def __enter__(self) -> RobotProcess:
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                self._command, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(EdgeError):
            self.end(5.0)

    def say(self, command: str, **arguments: Any) -> dict[str, Any]:
        """One command, and its answer; `EdgeError` where it is refused."""
        return control_socket.send(self._socket, {"cmd": command, **arguments})

    def wait_for(self, state: str, limit_s: float) -> None:
        """Wait until the robot is in `state`; `EdgeError` if it ends or takes longer than `limit_s`."""
        deadline, seen = time.monotonic() + limit_s, "no answer"
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise EdgeError(f"edge run ended: {self._last_words()}")
            with contextlib.suppress(EdgeError):  # not listening yet
                seen = str(self.say("status")["state"])
            if seen == state:
                return
            time.sleep(POLL_S)
        raise EdgeError(f"edge run: not {state} within {limit_s:.0f} s (now: {seen})")

    def end(self, limit_s: float) -> None:
        """SIGTERM, and wait: the arm stops and the report is written. `EdgeError` if that did not go well."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise EdgeError(f"edge run: alive {limit_s:.0f} s after SIGTERM, killed") from None
        if self.process.returncode != 0:
            raise EdgeError(f"edge run ended with code {self.process.returncode}: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self._log.read_text().strip().splitlines()
        return lines[-1] if lines else "without a word"
