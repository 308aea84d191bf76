"""Start the simulated robot as a process of its own and talk to its judge: for the demo, the benchmark and tests."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from drivers.errors import Disconnected

START_S = 20.0
ANSWER_S = 5.0


class SimProcess:
    """`with SimProcess(directory) as sim:` — the simulator runs, ready, until the block ends."""

    def __init__(self, directory: Path, seed: int = 0, trace: Path | None = None) -> None:
        """`trace`: a file for what the servos are told and do, see `drivers.sim.trace`."""
        self.directory = directory
        self._seed = seed
        self._trace = [] if trace is None else ["--trace", str(trace.absolute())]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> SimProcess:
        """Start and wait until it is ready; `Disconnected` with its last words if it does not come up."""
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "drivers.sim", "--dir", str(self.directory), "--seed", str(self._seed)]
        command += self._trace
        root = Path(__file__).resolve().parents[2]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root, start_new_session=True
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_S)
        if not ready or not self._process.stdout.readline().startswith("ready"):
            self._process.kill()
            words = self._process.communicate()[1].strip().splitlines()
            raise Disconnected(words[-1] if words else f"simulator: not ready after {START_S:.0f} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def ask(self, **command: Any) -> dict[str, Any]:
        """One command of `drivers.sim.judge`, and its answer; `Disconnected` if it does not answer."""
        path = self.directory / "sim.sock"
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(ANSWER_S)
                line.connect(str(path))
                line.sendall(json.dumps(command).encode() + b"\n")
                with line.makefile() as answers:
                    answer: dict[str, Any] = json.loads(answers.readline())
        except (OSError, ValueError) as error:
            raise Disconnected(f"{path}: the simulator does not answer: {error}") from error
        if "error" in answer:
            raise Disconnected(f"{path}: {answer['error']}")
        return answer
