"""What a Debian package says of itself, read without unpacking it (deb(5), deb-control(5))."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.deploy.systems import SYSTEMS, System
from edge_runtime.errors import EdgeError, one_line

RUNTIME = "edge-runtime"
_SYSTEM = re.compile(r"\(([a-z0-9-]+)\)$")
"""Ends the description of a package that `edge package` made: the target's name."""
_RAUC = "/etc/rauc/system.conf"


@dataclass(frozen=True)
class DebFile:
    """`needs`: for each dependency the names of which one will do. `system`: None unless `edge package` made it.

    `updates`: it needs a disk with two system slots.
    """

    path: Path
    name: str
    arch: str
    needs: tuple[tuple[str, ...], ...]
    provides: tuple[str, ...]
    system: System | None
    updates: bool


def read(path: Path) -> DebFile:
    """Raises `EdgeError` where that is no package, or dpkg-deb is missing."""
    keys = ("Package", "Architecture", "Depends", "Pre-Depends", "Provides", "Description")
    fields = dict.fromkeys(keys, "")
    for line in _ask("--field", path, *keys).splitlines():
        key, colon, value = line.partition(": ")
        if colon and key in fields:
            fields[key] = value
    found = _SYSTEM.search(fields["Description"])
    system = SYSTEMS.get(found[1]) if found and fields["Package"] == RUNTIME else None
    needs = [part for key in ("Pre-Depends", "Depends") for part in fields[key].split(",") if part.strip()]
    return DebFile(
        path=path,
        name=fields["Package"],
        arch=fields["Architecture"],
        needs=tuple(names(part, "|") for part in needs),
        provides=names(fields["Provides"], ","),
        system=system,
        updates=system is not None and _RAUC in _conffiles(path).splitlines(),
    )


def names(text: str, between: str) -> tuple[str, ...]:
    """Names of packages without their versions and architectures: "a (>= 1) | b:any" → a, b."""
    words = (part.split("(")[0].split(":")[0].strip() for part in text.split(between))
    return tuple(word for word in words if word)


def _conffiles(path: Path) -> str:
    if "conffiles" not in _ask("--info", path):
        return ""
    return _ask("--info", path, "conffiles")


def _ask(question: str, path: Path, *more: str) -> str:
    if not path.is_file():
        raise EdgeError(f"{path}: there is no such package")
    try:
        done = subprocess.run(["dpkg-deb", question, str(path), *more], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise EdgeError("dpkg-deb is not here: flash from a Debian or Ubuntu, as NVIDIA's tools need anyway") from error
    if done.returncode:
        raise EdgeError(f"{path}: is no Debian package: {one_line(done.stderr)}")
    return done.stdout
