"""A folder of files becomes a Debian package, the same bytes for the same files.

Formats: deb(5), deb-control(5), deb-conffiles(5), deb-md5sums(5). Times, owners and modes are not those of the folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_runtime.errors import EdgeError, one_line

MEMBER_BYTES = 9_999_999_999
"""Most that a member of an ar archive can hold: its size has ten decimal digits (deb(5))."""
TIME_S = 1_577_836_800
"""Modification time of every file, 2020-01-01T00:00:00Z."""
COMPRESSION = ("-Zzstd", "-z9")
CONTROL = "DEBIAN"
_BLOCK = 1 << 20


def digests(root: Path) -> tuple[str, str]:
    """A digest over every name, mode, link and content below `root`, and the file md5sums. Reads each file once."""
    whole, sums = hashlib.sha256(), ""
    for path in _walk(root):
        name = path.relative_to(root)
        if path.is_symlink():
            whole.update(f"{name} -> {path.readlink()}\0".encode())
        elif path.is_file():
            md5, sha = hashlib.md5(usedforsecurity=False), hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    md5.update(block)
                    sha.update(block)
            whole.update(f"{name} {_executable(path)} {sha.hexdigest()}\0".encode())
            sums += f"{md5.hexdigest()}  {name}\n"
    return whole.hexdigest(), sums


def build(root: Path, control: Mapping[str, str], to: Path) -> None:
    """Make the package `to` of the files below `root` and the files of its control archive.

    Raises `EdgeError`, one line, where dpkg-deb is missing or refuses. `root` is changed.
    """
    if shutil.which("dpkg-deb") is None:
        raise EdgeError("dpkg-deb is not here: sudo apt-get install dpkg, or make the package on a Debian or Ubuntu")
    folder = root / CONTROL
    folder.mkdir()
    for name, text in control.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755 if text.startswith("#!") else 0o644)
    _settle(root)
    to.parent.mkdir(parents=True, exist_ok=True)
    beside = to.with_name(f".{to.name}.{os.getpid()}")
    settings = {"SOURCE_DATE_EPOCH": str(TIME_S), "DPKG_DEB_THREADS_MAX": "1", "LC_ALL": "C.UTF-8"}
    command = ("dpkg-deb", "--root-owner-group", *COMPRESSION, "--build", str(root), str(beside))
    try:
        done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EdgeError(f"{one_line(done.stderr) or 'dpkg-deb failed'}: is there room in {root.parent} and {to}?")
        beside.replace(to)
    finally:
        beside.unlink(missing_ok=True)


def conffiles(root: Path) -> str:
    """The files that are the owner's to change: dpkg asks before it replaces one."""
    folder = root / "etc"
    paths = _walk(folder) if folder.is_dir() else ()
    return "".join(f"/{path.relative_to(root)}\n" for path in paths if path.is_file())


def size_bytes(root: Path) -> int:
    """What the files below `root` hold."""
    return sum(path.stat().st_size for path in _walk(root) if path.is_file() and not path.is_symlink())


def _settle(root: Path) -> None:
    """Modes and times that say nothing of who made the package, and when."""
    for path in (*_walk(root), root):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or _executable(path) else 0o644)
        os.utime(path, (TIME_S, TIME_S), follow_symlinks=False)


def _walk(root: Path) -> Iterator[Path]:
    """Everything below `root`, a folder before what is in it, by name."""
    for path in sorted(root.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def _executable(path: Path) -> bool:
    return bool(path.stat().st_mode & stat.S_IXUSR)
