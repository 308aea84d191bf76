"""Which slot is on trial, and how the last trial ended: two small files on the partition that both systems share.

The record is on the disk before anything of an update is written to a slot, so that a system which starts without
having proved itself always finds itself on trial, wherever the power went.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from edge_runtime.deploy.places import under
from edge_runtime.deploy.update import layout
from edge_runtime.files import settle, write_whole

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Another one after each start of the kernel (random(4))."""


R = TypeVar("R")


class Trial(msgspec.Struct, frozen=True):
    """An update: the slot it is for, its version, and the start of the machine during which it was installed."""

    slot: str
    version: str
    boot: str


class Ended(msgspec.Struct, frozen=True):
    """How a trial ended."""

    slot: str
    version: str
    good: bool
    why: str


def on_trial(root: Path) -> Trial | None:
    """The update that has not proved itself yet. A record that cannot be read counts as none."""
    return _read(under(root, layout.TRIAL), Trial)


def last(root: Path) -> Ended | None:
    """How the last trial ended."""
    return _read(under(root, layout.LAST), Ended)


def begin(root: Path, slot: str, version: str) -> None:
    """An update for `slot` is about to be installed."""
    _write(under(root, layout.TRIAL), Trial(slot, version, boot(root)))


def end(root: Path, trial: Trial, *, good: bool, why: str) -> None:
    """The trial is over. What is known of it is on the disk before the trial is none any more."""
    _write(under(root, layout.LAST), Ended(trial.slot, trial.version, good, why))
    path = under(root, layout.TRIAL)
    path.unlink(missing_ok=True)
    settle(path.parent)


def boot(root: Path) -> str:
    """What this start of the machine is known by."""
    return under(root, _BOOT_ID).read_text(encoding="ascii").strip()


def _read(path: Path, kind: type[R]) -> R | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _write(path: Path, record: Trial | Ended) -> None:
    write_whole(path, msgspec.json.encode(record) + b"\n", settled=True)
