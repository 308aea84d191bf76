"""A run that ended badly is not gone on with by itself: what HOLD and SAFE latch, a restart must not reset.

`autostart` is for power-on and for another bundle after a proper end. The mark is in the service's runtime folder,
which systemd keeps over a restart and which is gone after a reboot or a stop that a person asked for.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from edge_runtime.config import Robot

FILE = "began"

_log = logging.getLogger("edge_runtime")


class Latch:
    """Of the service whose runtime folder is `folder`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE

    def heed(self, robot: Robot) -> Robot:
        """`robot`, without its autostart where the run before this one did not end as it was asked to."""
        if not (robot.policy.autostart and self._file.exists()):
            return robot
        _log.warning("autostart: not after a run that ended badly: look at the robot, then `edge arm`")
        return msgspec.structs.replace(robot, policy=msgspec.structs.replace(robot.policy, autostart=False))

    def set(self) -> None:
        """From now on the arm may be in use."""
        self._file.parent.mkdir(parents=True, exist_ok=True)  # systemd has made it, where it is there
        self._file.touch()

    def clear(self) -> None:
        """The run has ended as it was asked to."""
        self._file.unlink(missing_ok=True)
