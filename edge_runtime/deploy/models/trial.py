"""What the robot remembers of its bundles: the one to go back to, the one on trial, and which failed and why.

A bundle is on trial from when it was switched to until it has proved itself. It has one try: `begun` is on the disk
before the try is made, so that a start which never came to its end, for whatever reason, has spent it.
What a newer version has written here beside that is nothing to one that came back.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge_runtime.errors import one_line
from edge_runtime.files import write_whole

FILE = "record.json"
UNREADABLE = "record.json.unreadable"
"""Kept for whoever wants to know."""
_FAILURES = 8
"""So many are remembered."""
_DAMAGED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Trial(msgspec.Struct, frozen=True):
    """`before` was the previous bundle until then, and is again if it fails; `why`: what it said when it failed."""

    name: str
    before: str = ""
    begun: bool = False
    why: str = ""


class Record(msgspec.Struct, frozen=True):
    """`previous`: the last bundle before this one that had proved itself. `failed`: name → why, the last one last."""

    previous: str = ""
    trial: Trial | None = None
    failed: dict[str, str] = {}


def read(folder: Path) -> Record:
    """What was written last; nothing on trial and nothing to go back to where that cannot be read."""
    try:
        return _decoded(folder)
    except (FileNotFoundError, *_DAMAGED):
        return Record()


def set_aside(folder: Path) -> str:
    """Move a record that cannot be read out of the way; what that means in one line, "" where there is none."""
    try:
        _decoded(folder)
    except FileNotFoundError:
        return ""
    except _DAMAGED as error:
        (folder / FILE).replace(folder / UNREADABLE)
        return f"{folder / UNREADABLE}: which bundle was before, and on trial, is not known: {one_line(error)}"
    return ""


def _decoded(folder: Path) -> Record:
    return msgspec.json.decode((folder / FILE).read_bytes(), type=Record)


def write(folder: Path, record: Record) -> Record:
    """Write it to the disk."""
    text = msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"
    write_whole(folder / FILE, text, settled=True)
    return record


def started(record: Record, name: str, current: str) -> Record:
    """`name` goes on trial in the place of `current`. What has not proved itself is nothing to go back to."""
    trial = record.trial
    previous, before = (record.previous, trial.before) if trial else (current, record.previous)
    failed = {k: why for k, why in record.failed.items() if k != name}
    return Record(previous, Trial(name, before), failed)


def failed(record: Record, why: str) -> Record:
    """The one on trial is none any more: what was there before it is the way it was."""
    if record.trial is None:
        return record
    before = record.trial.before if record.trial.before != record.trial.name else ""
    return Record(before, None, remembered(record.failed, record.trial.name, why))


def remembered(failures: dict[str, str], name: str, why: str) -> dict[str, str]:
    """`failures` with one more, without the oldest of too many."""
    others = [(other, said) for other, said in failures.items() if other != name]
    return dict([*others, (name, why)][-_FAILURES:])


def forgotten(record: Record) -> Record:
    """A switch that never took place."""
    return Record(record.trial.before, None, record.failed) if record.trial else record
