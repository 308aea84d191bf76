"""A run that ended badly is not gone on with by itself: what HOLD and SAFE latch, no start may reset.

`autostart` is for power-on, be it after a power cut in a run, and for another bundle after a proper end. The mark is on
the disk before the arm may be used. It names the start of the machine in which it was made, which tells a power cut
from a process that died.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

import msgspec

from edge_runtime.config import Robot
from edge_runtime.deploy.places import under
from edge_runtime.deploy.update import record
from edge_runtime.files import write_whole

CRASHED = "crashed"
"""Kept over any number of starts, until a person arms the robot."""
RUNS = "runs"
LEFT = "left"
"""A run was asked to end while it was disarmed or held: it counts until the machine is started anew."""
_WATCHDOGS = Path("/sys/class/watchdog")
_CARDRESET = 0x20
"""Bit of a watchdog's `bootstatus`: it has reset the machine (linux/watchdog.h, WDIOF_CARDRESET)."""

_log = logging.getLogger("edge_runtime")


class Latch:
    """`look` and `begin`, then `undo` or `end`, on one thread; `armed` meanwhile, on any other."""

    def __init__(self, file: Path, root: Path = Path("/")) -> None:
        """`file`: the mark; `root`: where the kernel says which start of the machine this is, and why it was."""
        self._file = file
        self._root = root
        self._boot = record.boot(root)
        self._said = ""
        """What the mark said before `begin`."""
        self._held = ""
        """Why nothing begins by itself, empty where it may."""
        self._autostart = False

    def look(self) -> None:
        """Find out how the last run ended: before anything else of this start can fail."""
        self._said = self._read()
        word, _, boot = self._said.partition(" ")
        if word == RUNS and (boot == self._boot or _was_reset(self._root)):
            self._said = word = CRASHED
            self._write(CRASHED)
        if word == LEFT and boot == self._boot:
            self._held = "not before the next power-on: a person had disarmed or held the robot"
        elif word not in ("", LEFT, RUNS):
            self._held = "not after a run that ended badly: look at the robot, then `edge arm`"

    def begin(self, robot: Robot) -> Robot:
        """The arm may be used from now on. Returns `robot`, without its autostart where a person is to begin."""
        self._autostart = robot.policy.autostart
        if self._said != CRASHED and not self._write(f"{RUNS} {self._boot}"):
            self._held = self._held or "not where it could not be known how the run ended"
        if not (self._autostart and self._held):
            return robot
        _log.warning("autostart: %s", self._held)
        return msgspec.structs.replace(robot, policy=msgspec.structs.replace(robot.policy, autostart=False))

    def armed(self) -> None:
        """A person has looked at the robot, and armed it."""
        if self._said == CRASHED:
            self._said = ""
            self._write(f"{RUNS} {self._boot}")

    def undo(self) -> None:
        """The arm was not used."""
        self._write(self._said)

    def end(self, *, left: bool) -> None:
        """The run has ended as it was asked to; `left`: disarmed, held or stopped."""
        if self._said != CRASHED:
            self._write(f"{LEFT} {self._boot}" if left and self._autostart else "")

    def _read(self) -> str:
        try:
            return self._file.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            return ""

    def _write(self, words: str) -> bool:
        """Whether it is on the disk; one that takes nothing more is said, and no reason to stop a robot."""
        try:
            if words:
                write_whole(self._file, words + "\n", settled=True)
            else:
                self._file.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("%s: %s", self._file, error.strerror)
            return False
        return True


def _was_reset(root: Path) -> bool:
    """Whether a hardware watchdog has started the machine anew."""
    for file in under(root, _WATCHDOGS).glob("*/bootstatus"):
        with suppress(OSError, ValueError):
            if int(file.read_text(encoding="ascii"), 0) & _CARDRESET:
                return True
    return False
