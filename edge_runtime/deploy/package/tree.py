"""The runtime as files: a virtual environment for the system's own Python that was made without running it.

Three things make a folder one (PEP 405): pyvenv.cfg, bin/python, lib/pythonX.Y/site-packages. The system's own packages
are not seen from it, but for JetPack's `tensorrt`, which a link lets in alone.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from edge_runtime.deploy import places
from edge_runtime.deploy.package.unpack import unpack
from edge_runtime.deploy.systems import System

OURS = ("calibration", "drivers", "edge_runtime")
"""Packages of ours that a robot has; `export` stays on the computer that exports."""
_LEFT_OUT = (".pyc", ".so")
"""Made anew on the robot, or for it."""
_EDGE = f"""\
#!{places.PYTHON} -I
import sys
from edge_runtime.cli import main
sys.exit(main())
"""


def site_packages(system: System) -> Path:
    """Where modules are, below the root of the robot's file system."""
    return places.PREFIX / f"lib/python{system.python}/site-packages"


def version() -> str:
    """Version of the runtime that this is."""
    return metadata.version("edge-runtime")


def build(root: Path, system: System, wheels: Iterable[Path]) -> None:
    """Write the runtime below `root`, which stands for "/". Raises `EdgeError` for a wheel that cannot be unpacked."""
    site = _below(root, site_packages(system))
    site.mkdir(parents=True)
    for wheel in wheels:
        unpack(wheel, site)
    for package in OURS:
        _copy(Path(importlib.import_module(package).__path__[0]), site / package)
    _describe(site / f"edge_runtime-{version()}.dist-info", system)
    if system.jetpack:
        (site / "tensorrt").symlink_to(f"/usr/lib/python{system.python}/dist-packages/tensorrt")
    _environment(_below(root, places.PREFIX), system)


def _environment(prefix: Path, system: System) -> None:
    home = Path("/usr/bin")
    settings = f"home = {home}\ninclude-system-site-packages = false\nversion = {system.python}\n"
    (prefix / "pyvenv.cfg").write_text(settings)
    (prefix / "bin").mkdir()
    (prefix / "bin/python").symlink_to(home / f"python{system.python}")
    edge = prefix / "bin" / places.EDGE.name
    edge.write_text(_EDGE)
    edge.chmod(0o755)


def _describe(info: Path, system: System) -> None:
    """What tells `importlib.metadata` the version, and pip that dpkg owns this (PEP 627)."""
    info.mkdir()
    fields = ("Metadata-Version: 2.1", "Name: edge-runtime", f"Version: {version()}")
    (info / "METADATA").write_text("\n".join((*fields, f"Requires-Python: =={system.python}.*", "")))
    (info / "INSTALLER").write_text("dpkg\n")


def _copy(source: Path, to: Path) -> None:
    for file in _files(source):
        target = to / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def _files(source: Path) -> Iterator[Path]:
    """The files of a package of ours, whether it is a checkout's or was installed."""
    for file in sorted(source.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(source).parts)
        if file.is_file() and file.suffix not in _LEFT_OUT and not hidden:
            yield file


def _below(root: Path, place: Path) -> Path:
    return root / place.relative_to("/")
