"""The folder of black boxes: whole files under names that say when and why, a bounded number, and never a full disk."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from edge_runtime.black_box.incident import Incident
from edge_runtime.black_box.write import write
from edge_runtime.files import naming

FREE_BYTES = 1 << 30
"""So much of the disk stays free: black boxes give way to whatever else the robot must write."""
OVERHEAD = 1.1
"""Of a file over its pictures, and 4 MB for the rest: what is asked for before it is written."""
_REST_BYTES = 4_000_000
_CAUSE = 48
"""Most characters of the cause in a name."""
_OURS = re.compile(r"\d{4}-\d\d-\d\dT\d{6}\.\d{3}Z_[A-Z]+_[a-z0-9-]*\.mcap")
_PART = re.compile(r"\.black-box\.(\d+)\.part")
"""What a process is writing, by its number."""
_MODE = 0o600
"""There are pictures in it, and robot.toml: its owner's business."""


class Folder:
    """Files of other names are left alone, and what the process of a run before is still writing."""

    def __init__(self, path: Path, files: int) -> None:
        """Keeps up to `files`."""
        self._path = path
        self._part = path / f".black-box.{os.getpid()}.part"
        self._files = files

    def prepare(self) -> None:
        """Make it, and take away what a killed process has left. Raises `OSError` where nothing can be kept."""
        self._path.mkdir(parents=True, exist_ok=True)
        with naming(self._path):
            self._part.write_bytes(b"")
        self._part.unlink()
        self._forget([path for path in self._path.iterdir() if _is_left(path.name)])
        for path in self.kept():
            with suppress(OSError):  # another user's
                path.chmod(_MODE)

    def keep(self, incident: Incident) -> Path:
        """Write an incident: the file is whole and on the disk, or not there. Raises `OSError`."""
        part, path = self._part, self._path / name(incident)
        self._make_room(incident)
        try:
            with naming(path), open(part, "wb", opener=_private) as file:
                write(incident, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        _sync(self._path)
        self._forget(self.kept()[: -self._files])
        return path

    def kept(self) -> list[Path]:
        """The black boxes that are there, oldest first."""
        return sorted(path for path in self._path.iterdir() if _OURS.fullmatch(path.name))

    def _make_room(self, incident: Incident) -> None:
        """The oldest go until there is room. Raises `OSError` where all of them would not be enough; then none goes."""
        pictures = sum(len(frame.jpeg) for frames in incident.frames.values() for frame in frames)
        needed = int(pictures * OVERHEAD) + _REST_BYTES + FREE_BYTES
        free = shutil.disk_usage(self._path).free
        go = _enough(self.kept(), needed - free)
        if go is None:
            raise OSError(
                f"{self._path}: {free >> 20} MiB of its disk are free, {needed >> 20} MiB are needed to leave "
                f"{FREE_BYTES >> 20} MiB, and the black boxes there are too small to make way: delete something else"
            )
        self._forget(go)

    def _forget(self, paths: list[Path]) -> None:
        for path in paths:
            with suppress(OSError):
                path.unlink()


def _is_left(name: str) -> bool:
    """Whether it is half a file whose process has gone."""
    part = _PART.fullmatch(name)
    return part is not None and not Path("/proc", part[1]).exists()


def _private(path: str, flags: int) -> int:
    """Opens a file that its owner alone may read, from the first byte on."""
    return os.open(path, flags, _MODE)


def _enough(kept: list[Path], missing: int) -> list[Path] | None:
    """The first of `kept` that have `missing` bytes, none where nothing is missing; None where all have less."""
    for count in range(len(kept) + 1):
        if sum(map(_disk_bytes, kept[:count])) >= missing:
            return kept[:count]
    return None


def _disk_bytes(path: Path) -> int:
    """What the disk has back when it goes: nothing of what has another name, too."""
    with suppress(OSError):
        found = path.lstat()
        return found.st_blocks * 512 if found.st_nlink == 1 else 0
    return 0


def name(incident: Incident) -> str:
    """When, by the wall clock in UTC, the state, and the cause as far as it fits."""
    trigger = incident.trigger
    milliseconds = (trigger.t_ns + incident.header.wall_ns) // 1_000_000
    at = datetime.fromtimestamp(milliseconds // 1000, timezone.utc)
    cause = re.sub(r"[^a-z0-9]+", "-", trigger.cause.lower()).strip("-")[:_CAUSE].rstrip("-")
    state = re.sub(r"[^A-Z]", "", trigger.state.upper())
    return f"{at:%Y-%m-%dT%H%M%S}.{milliseconds % 1000:03d}Z_{state}_{cause}.mcap"


def _sync(folder: Path) -> None:
    """The new name is on the disk, too; not every file system can be asked for that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
