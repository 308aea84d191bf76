"""`tests.edge_runtime.run_fake`, or another program like it, as a process that tests look at from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from edge_runtime.control_socket import send
from edge_runtime.errors import CommandError

ROOT = Path(__file__).resolve().parents[2]


class Process:
    """Running until `wait` or the end of the fixture."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        program: str = "tests.edge_runtime.run_fake",
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.folder = folder
        self.errors = ""
        command = [sys.executable, "-m", program, str(folder), *arguments]
        told = {**os.environ, **environment}
        self.process = subprocess.Popen(command, cwd=ROOT, env=told, stderr=subprocess.PIPE, text=True)

    def say(self, cmd: str, **more: str) -> dict[str, Any]:
        return send(self.folder / "control.sock", {"cmd": cmd, **more})

    def until(self, state: str, phase: str = "", seconds: float = 20.0) -> dict[str, Any]:
        """Its status once it is in that state."""
        end, status = time.monotonic() + seconds, {}
        while time.monotonic() < end:
            assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
            try:
                status = self.say("status")
            except CommandError:
                status = {}
            if (status.get("state"), status.get("phase")) == (state, phase):
                return status
            time.sleep(0.02)
        raise AssertionError(f"never {state} {phase}: {status}")

    def start_task(self) -> None:
        """From where it starts to the midst of a task."""
        self.until("DISARMED")
        self.say("arm")
        self.until("READY")
        self.say("task", instruction="stay there")
        self.until("RUN", "task")

    def wait(self) -> int:
        """Its exit code."""
        _, self.errors = self.process.communicate(timeout=20)
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    @property
    def calls(self) -> list[str]:
        """What the fake bus was told outside the cycle."""
        return (self.folder / "bus.log").read_text().split()

    @property
    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "record.json").read_text())
        return found

    def emitted(self) -> np.ndarray:
        """Every setpoint that the fake bus was sent, [writes, joints]."""
        return np.fromfile(self.folder / "setpoints.bin").reshape(-1, 6)
