"""A program for `test_hung.py`: `edge` as a user starts it, with a policy whose device stops answering.

`python -m tests.edge_runtime.run_hung FOLDER COMMAND …`: once there is a file `hang` in FOLDER, an inference is a call
into C that never returns, without the interpreter's lock, and so is a destructor at the end of Python.
"""

from __future__ import annotations

import atexit
import ctypes
import sys
from pathlib import Path

import numpy as np

from edge_runtime import app, cli
from edge_runtime.config import Robot
from edge_runtime.policies.base import Observation
from tests.edge_runtime.fakes import FakePolicy, spec


def wait_for_ever() -> None:
    """As a driver waits for a device that has gone."""
    while True:
        ctypes.CDLL(None).sleep(3600)


def main(folder: Path, arguments: list[str]) -> int:
    """Exit code of the command."""

    def act(observation: Observation, out: np.ndarray) -> None:
        if (folder / "hang").exists():
            atexit.register(wait_for_ever)
            wait_for_ever()
        out[:] = observation.state

    def policy(robot: Robot) -> FakePolicy:
        made = FakePolicy(spec(robot.joint_names))
        made.act = act
        return made

    vars(app)["robot_policy"] = policy
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
