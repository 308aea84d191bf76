"""What a slot is filled with: a folder, an archive of one, or an image of an ext4 file system."""

from __future__ import annotations

import os
import shutil
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.deploy import tools
from edge_runtime.errors import EdgeError, UpdateError

_ARCHIVES = (".tar", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst")
_EXT_MAGIC = (1080, b"\x53\xef")
"""Where ext2, 3 and 4 have their magic number (Linux, fs/ext4: superblock at 1024, s_magic at 0x38)."""
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
"""RFC 8878, section 3.1.1."""
_PACK_S = 3600.0
_READ_S = 600.0


@dataclass(frozen=True)
class Rootfs:
    """`kind`: folder, archive or image; `suffix`: what RAUC knows by how to write it."""

    path: Path
    kind: str
    suffix: str

    def read(self, name: str) -> str | None:
        """A small text file of it, named as from its root without the first stroke; None where it is not there."""
        if self.kind == "folder":
            path = self.path / name
            return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
        if self.kind == "image":
            return self._said(["debugfs", "-R", f"cat /{name}", self.path])
        extract: list[str | Path] = ["tar", "--extract", "--to-stdout", "--file", self.path]
        return self._said([*extract, f"./{name}"]) or self._said([*extract, name])

    def _said(self, command: list[str | Path]) -> str | None:
        """debugfs ends well and says nothing, tar does not end well, where the file is not there."""
        try:
            return tools.run(command, timeout_s=_READ_S, what=str(self.path)) or None
        except EdgeError:
            return None

    def lay(self, folder: Path) -> Path:
        """Put it into the folder that becomes the bundle, the same bytes for the same files. Raises `EdgeError`."""
        into = folder / f"rootfs{self.suffix}"
        if self.kind == "folder":
            _pack(self.path, into)
            return into
        try:
            os.link(self.path.resolve(), into)
        except OSError:
            shutil.copyfile(self.path, into)
        return into


def opened(path: Path) -> Rootfs:
    """What `path` is. Raises `UpdateError` where it is none of the three."""
    if path.is_dir():
        return Rootfs(path, "folder", ".tar")
    if not path.is_file():
        raise UpdateError(f"{path}: is not there")
    for suffix in _ARCHIVES:
        if path.name.endswith(suffix):
            if not _is_archive(path):
                raise UpdateError(f"{path}: is not a tar archive")
            return Rootfs(path, "archive", suffix)
    if _is_ext(path):
        return Rootfs(path, "image", ".ext4")
    raise UpdateError(f"{path}: no folder, no {', '.join(_ARCHIVES)}, and no image of an ext4 file system")


def _is_archive(path: Path) -> bool:
    """Whether it begins as an archive does. Python reads no zstd before 3.14: of that only the magic number."""
    if path.name.endswith(".zst"):
        with path.open("rb") as file:
            return file.read(len(_ZSTD_MAGIC)) == _ZSTD_MAGIC
    try:
        return tarfile.is_tarfile(path)
    except (EOFError, zlib.error):  # a compressed file that ends, or turns bad, within the first header
        return False


def _is_ext(path: Path) -> bool:
    offset, magic = _EXT_MAGIC
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(len(magic)) == magic


def _pack(folder: Path, into: Path) -> None:
    """One archive, sorted, owners by number, nothing in it of when it was made or read."""
    fixed = ("--sort=name", "--numeric-owner", "--one-file-system", "--xattrs", "--xattrs-include=*")
    posix = ("--format=posix", "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime")
    tools.run(
        ["tar", "--create", "--file", into, *fixed, *posix, "-C", folder, "."], timeout_s=_PACK_S, what=str(folder)
    )
