"""A wheel becomes files: what pip does when it installs one, without running anything and for any system.

Format: the binary distribution format of the Python packaging guide (PEP 427). Every file is held to the wheel's own
RECORD; a file that leads out of the folder, or that another wheel has put there, is refused.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from edge_runtime.errors import EdgeError
from edge_runtime.files import naming

FILE_BYTES = 1 << 30
"""Most that one file may hold: the largest of today's is a fifth of it."""
_LIBRARY = ("purelib", "platlib")
"""Parts of a wheel's `.data` that are modules. The others are scripts and headers, of no use to a robot."""
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")
"""Beside RECORD the only files that RECORD does not list."""

_DAMAGED = (zipfile.BadZipFile, zlib.error, csv.Error, ValueError, RuntimeError, EOFError)
"""What the standard library raises for an archive that is none."""


def unpack(wheel: Path, site: Path) -> None:
    """Write the modules of `wheel` into the folder `site`. Raises `EdgeError`, one line that names wheel and file."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            files = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
            record, listed = _record(archive, files)
            for entry in files:
                if entry.filename in (record, *(record.replace("RECORD", name) for name in _SIGNATURES)):
                    content = archive.read(entry)
                else:
                    content = _checked(archive, entry, listed)
                if (place := _place(entry.filename)) is not None:
                    _write(site / place, content, executable=bool(entry.external_attr >> 16 & 0o100))
    except (*_DAMAGED, EdgeError) as error:
        raise EdgeError(f"{wheel}: {error}: fetch it again with edge package wheels") from error


def _record(archive: zipfile.ZipFile, files: list[zipfile.ZipInfo]) -> tuple[str, dict[str, tuple[str, str]]]:
    """Name of RECORD, and what it says: hash and size of every file by its name."""
    found = [e.filename for e in files if e.filename.endswith(".dist-info/RECORD") and e.filename.count("/") == 1]
    if len(found) != 1:
        raise EdgeError(f"it has {len(found)} files RECORD, a wheel has one")
    rows = csv.reader(io.StringIO(archive.read(found[0]).decode()))
    return found[0], {name: (digest, size) for name, digest, size in rows}


def _checked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, listed: dict[str, tuple[str, str]]) -> bytes:
    """The content of one file, as RECORD says that it is."""
    if entry.file_size > FILE_BYTES:
        raise EdgeError(f"{entry.filename}: {entry.file_size} bytes are more than any module has")
    content = archive.read(entry)
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    if listed.get(entry.filename) != (f"sha256={digest}", str(len(content))):
        raise EdgeError(f"{entry.filename}: is not as RECORD says")
    return content


def _place(name: str) -> PurePosixPath | None:
    """Where a file goes below site-packages; None for what a robot has no use for."""
    place = PurePosixPath(name)
    if place.is_absolute() or not place.parts or ".." in place.parts or str(place) != name or "\\" in name:
        raise EdgeError(f"{name!r} leads out of the wheel")
    head, *inner = place.parts
    if not head.endswith(".data"):
        return place
    if len(inner) < 2:
        raise EdgeError(f"{name!r} is no file of a wheel")
    return PurePosixPath(*inner[1:]) if inner[0] in _LIBRARY else None


def _write(path: Path, content: bytes, *, executable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with naming(path), path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        if path.read_bytes() != content:
            raise EdgeError(f"{path.name}: another wheel has a different file in its place") from None
    if executable:
        path.chmod(0o755)
