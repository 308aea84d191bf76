"""What a Debian package says of itself, read without unpacking it (deb(5), deb-control(5), deb-version(7))."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.deploy.systems import SYSTEMS, System
from edge_runtime.errors import EdgeError, one_line

RUNTIME = "edge-runtime"
_SYSTEM = re.compile(r"\(([a-z0-9-]+)\)$")
"""Ends the description of a package that `edge package` made: the target's name."""
_RAUC = "/etc/rauc/system.conf"
_NAMED = re.compile(r"([a-z0-9][a-z0-9+.-]*)(?::\w+)?\s*(?:\(\s*(<<|<=|=|>=|>>)\s*(\S+?)\s*\))?")
"""A package by name, perhaps for an architecture, perhaps with a version: a, a:any, a (>= 1)."""


@dataclass(frozen=True)
class Named:
    """A package that is there or is needed; `version` is "" where none is said, and `relation` how another is to it."""

    name: str
    relation: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.relation} {self.version})" if self.version else self.name

    def serves(self, need: Named) -> bool:
        """Whether this, which is there, is what `need` asks for: what says no version serves none that asks for one."""
        if self.name != need.name or not need.version:
            return self.name == need.name
        words = ("dpkg", "--compare-versions", self.version, need.relation, need.version)
        return bool(self.version) and subprocess.run(words, check=False).returncode == 0


@dataclass(frozen=True)
class DebFile:
    """`needs`: for each dependency those of which one will do. `system`: None unless `edge package` made it.

    `updates`: it needs a disk with two system slots.
    """

    path: Path
    name: str
    arch: str
    needs: tuple[tuple[Named, ...], ...]
    gives: tuple[Named, ...]
    """Itself, and what it provides."""
    system: System | None
    updates: bool


def read(path: Path) -> DebFile:
    """Raises `EdgeError` where that is no package, or dpkg-deb is missing."""
    keys = ("Package", "Version", "Architecture", "Depends", "Pre-Depends", "Provides", "Description")
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
        needs=tuple(named(part, "|") for part in needs),
        gives=given(fields),
        system=system,
        updates=system is not None and _RAUC in _conffiles(path).splitlines(),
    )


def given(fields: Mapping[str, str]) -> tuple[Named, ...]:
    """What a package with these fields gives to those that need it."""
    return (Named(fields["Package"], "=", fields.get("Version", "")), *named(fields.get("Provides", ""), ","))


def named(text: str, between: str) -> tuple[Named, ...]:
    """Packages as a field names them: "a (>= 1) | b:any"."""
    found = (_NAMED.fullmatch(part.strip()) for part in text.split(between))
    return tuple(Named(one[1], one[2] or "", one[3] or "") for one in found if one)


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
