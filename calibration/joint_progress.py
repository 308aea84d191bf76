"""What a calibration of joints has found so far, kept beside the file that it will become."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from drivers.motors.base import Identity
from edge_runtime import calibration_files as files
from edge_runtime.errors import ConfigError


class Found(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One motor: its homing offset when it was measured, and its encoder, counts."""

    homing: int
    pose_step: int
    """In the reference pose."""
    noise_steps: Annotated[float, Meta(ge=0)]
    direction: Literal[-1, 0, 1] = 0
    """0 until it is known."""


class Progress(files.Calibration, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="joints so far"):
    """Every motor of a bus; none before the reference pose is known."""

    format: Literal[1] = files.FORMAT
    date: files.Utc = msgspec.field(default_factory=files.now)
    tool: files.Line = msgspec.field(default_factory=files.tool)
    motors: tuple[Found, ...] = ()

    @property
    def done(self) -> str:
        known = sum(found.direction != 0 for found in self.motors)
        return f"reference pose of {self.date}, direction of {known} of {len(self.motors)} joints"

    def save(self, path: Path) -> None:
        """Beside `path`, the calibration's own file."""
        files.write(files.unfinished(path), self)


def resume(path: Path, motors: Sequence[Identity]) -> Progress:
    """What was kept for these motors; nothing where they are others by now. `ConfigError` where it is damaged."""
    try:
        kept = files.read(files.unfinished(path), Progress)
    except ConfigError as error:
        raise ConfigError(f"{files.unfinished(path)}: is damaged: begin anew with --restart") from error
    same = kept is not None and [found.homing for found in kept.motors] == [motor.homing for motor in motors]
    return kept if kept is not None and same else Progress()


def forget(path: Path) -> None:
    """Remove what was kept."""
    files.unfinished(path).unlink(missing_ok=True)
