"""A program for `test_hung.py`: `edge` as a user starts it, with a policy whose device stops answering.

`python -m tests.edge_runtime.run_hung FOLDER COMMAND …`: once there is a file `hang` in FOLDER, an inference is a call
into C that never returns, without the interpreter's lock, and so is a destructor at the end of Python. With a file
`lose` it fails for good instead, and with `hang-open` the policy hangs while it is opened.
"""

from __future__ import annotations

import atexit
import ctypes
import sys
from pathlib import Path

import numpy as np

from edge_runtime import app, cli
from edge_runtime.config import Robot
from edge_runtime.errors import DeviceLost
from edge_runtime.policies.base import Observation
from tests.edge_runtime.fakes import FakePolicy, spec


def wait_for_ever() -> None:
    """As a driver waits for a device that has gone: no signal ends it. The mutex is locked twice."""
    mutex = ctypes.create_string_buffer(64)  # zeros are PTHREAD_MUTEX_INITIALIZER in Linux
    while True:
        ctypes.CDLL(None).pthread_mutex_lock(mutex)


def hang() -> None:
    """As `wait_for_ever`, and once more at the end of Python."""
    atexit.register(wait_for_ever)
    wait_for_ever()


def main(folder: Path, arguments: list[str]) -> int:
    """Exit code of the command."""

    def act(observation: Observation, out: np.ndarray) -> None:
        if (folder / "hang").exists():
            hang()
        if (folder / "lose").exists():
            atexit.register(wait_for_ever)
            raise DeviceLost("step: failed while it ran: CUDA_ERROR_ILLEGAL_ADDRESS")
        out[:] = observation.state

    def policy(robot: Robot) -> FakePolicy:
        if (folder / "hang-open").exists():
            (folder / "opening").touch()
            hang()
        made = FakePolicy(spec(robot.joint_names))
        made.act = act
        return made

    vars(app)["robot_policy"] = policy
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
