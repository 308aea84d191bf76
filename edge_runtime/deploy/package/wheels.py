"""The wheelhouse of a system: which wheels a package carries, to the byte, and how they are fetched.

`locks/<system>.txt` is what every package for it carries, `locks/<system>.kinematics.txt` what end-effector policies
need on top of that. Both are pip's requirements, one line a wheel, with its sha256; `.ci/lock-wheels` writes them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.bundle import sha256
from edge_runtime.deploy.systems import System
from edge_runtime.errors import EdgeError, one_line

LOCKS = Path(__file__).parent / "locks"
MANYLINUX_SINCE = 17
"""Minor version of the oldest glibc that wheels are built for (PEP 600 and PEP 599: manylinux2014 is 2.17)."""
_UNKNOWN = "No matching distribution found"
_OFFLINE = ": the package index may not be reachable from here"
"""pip says the same of an index that it does not reach and of one that has no such wheel."""
_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ]+) --hash=sha256:(?P<sha256>[0-9a-f]{64})$")


@dataclass(frozen=True)
class Pin:
    """One wheel of a lock."""

    name: str
    version: str
    sha256: str


def lock_files(system: System, *, kinematics: bool) -> tuple[Path, ...]:
    """The locks of a package."""
    names = (f"{system.name}.txt", *((f"{system.name}.kinematics.txt",) if kinematics else ()))
    return tuple(LOCKS / name for name in names)


def pins(system: System, *, kinematics: bool) -> tuple[Pin, ...]:
    """Every wheel that a package carries, in the order of the locks."""
    lines = (line for file in lock_files(system, kinematics=kinematics) for line in file.read_text().splitlines())
    return tuple(_pin(line) for line in lines if line and not line.startswith("#"))


def fetch(system: System, folder: Path, *, kinematics: bool) -> None:
    """Fetch the wheelhouse into `folder` with pip, from wherever pip is set up to; what is there already is kept.

    Raises `EdgeError`, one line, where `folder` is a file, pip is missing or what it got is not what the locks say.
    """
    if folder.exists() and not folder.is_dir():
        raise EdgeError(f"{folder}: is a file, and wheels go into a folder: name another one with -o")
    pip(
        *("download", "--require-hashes", "--only-binary=:all:", "--no-deps", "--implementation=cp"),
        *(f"--python-version={system.python}", *(f"--platform={tag}" for tag in platforms(system))),
        *(f"--requirement={file}" for file in lock_files(system, kinematics=kinematics)),
        f"--dest={folder}",
    )


def pip(*arguments: str) -> None:
    """Run pip; `EdgeError` with the last of its errors where it fails."""
    command = (sys.executable, "-m", "pip", *arguments, "--no-input", "--disable-pip-version-check", "--quiet")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        why = one_line(said[-1] if said else f"exit code {done.returncode}")
        raise EdgeError(f"pip {arguments[0]}: {why}{_OFFLINE if _UNKNOWN in why else ''}")


def platforms(system: System) -> tuple[str, ...]:
    """Platform tags of the wheels that run on `system`, the newest first."""
    major, newest = (int(part) for part in system.glibc.split("."))
    tags = [f"manylinux_{major}_{minor}_{system.machine}" for minor in range(newest, MANYLINUX_SINCE - 1, -1)]
    return (*tags, f"manylinux2014_{system.machine}")


def wheelhouse(system: System, folder: Path, *, kinematics: bool) -> tuple[Path, ...]:
    """The wheel in `folder` of each pin. Reads each of them once.

    Raises `EdgeError`, one line, for the first that is not there as it was locked.
    """
    found: dict[tuple[str, str], list[Path]] = {}
    for wheel in sorted(folder.glob("*.whl")):
        name, version, *_ = wheel.name.split("-")
        found.setdefault((_normal(name), version), []).append(wheel)
    return tuple(
        _locked(pin, found.get((_normal(pin.name), pin.version), ()), system, folder)
        for pin in pins(system, kinematics=kinematics)
    )


def _locked(pin: Pin, candidates: list[Path] | tuple[()], system: System, folder: Path) -> Path:
    for wheel in candidates:
        if sha256(wheel) == pin.sha256:
            return wheel
    fetch_again = f"edge package wheels --target {system.name} -o {folder}"
    if candidates and not any(_runs_on(wheel, system) for wheel in candidates):
        raise EdgeError(f"{folder}: these wheels are another target's ({candidates[0].name}): {fetch_again}")
    what = "is damaged: fetch it again" if candidates else "is not there"
    raise EdgeError(f"{folder}: the wheel of {pin.name} {pin.version} {what}: {fetch_again}")


def _runs_on(wheel: Path, system: System) -> bool:
    """Whether a wheel's name says that it is for `system`: NAME-VERSION-PYTHON-ABI-PLATFORM (PEP 427, PEP 425)."""
    python, abi, platform = (set(tags.split(".")) for tags in wheel.stem.split("-")[-3:])
    right_python = "abi3" in abi or bool(python & {"py3", f"cp{system.python.replace('.', '')}"})
    return right_python and bool(platform & {"any", *platforms(system)})


def _normal(name: str) -> str:
    """A distribution's name as it is compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _pin(line: str) -> Pin:
    match = _LINE.fullmatch(line)
    if match is None:
        raise EdgeError(f"{LOCKS}: {one_line(line)!r} is no line of a lock")
    return Pin(**match.groupdict())
