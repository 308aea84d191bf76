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
FILES = ("*.py", "*.c", "*.cfg", "*.css", "*.json", "*.ptx", "*.sh", "*.toml", "*.urdf", "py.typed")
MORE_FILES = {"edge_runtime.deploy.package": ("debian/*", "locks/*")}
"""What a wheel of ours has, by pyproject.toml (package-data): of every package of ours, and of one more than that."""
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
    site = places.under(root, site_packages(system))
    site.mkdir(parents=True)
    for wheel in wheels:
        unpack(wheel, site)
    for package in OURS:
        source = Path(importlib.import_module(package).__path__[0])
        for file in _files(source, package):
            _copy(file, site / package / file.relative_to(source))
    _describe(site / f"edge_runtime-{version()}.dist-info", system)
    if system.jetpack:
        (site / "tensorrt").symlink_to(f"/usr/lib/python{system.python}/dist-packages/tensorrt")
    _environment(places.under(root, places.PREFIX), system)


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
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, to)


def _files(folder: Path, package: str) -> Iterator[Path]:
    """The files of a package of ours and of those in it, whatever else a checkout has there."""
    if not (folder / "__init__.py").is_file():
        return
    for pattern in (*FILES, *MORE_FILES.get(package, ())):
        yield from (file for file in folder.glob(pattern) if file.is_file() and not file.name.startswith("."))
    for inner in folder.iterdir():
        if inner.is_dir() and inner.name.isidentifier():
            yield from _files(inner, f"{package}.{inner.name}")
