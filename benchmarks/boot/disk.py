"""A disk of several partitions in one file, made without loop devices: each file system is made in its place.

The partition table is a GPT as UEFI 2.10, chapter 5, has it.
"""

from __future__ import annotations

import struct
import subprocess
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import EdgeError, one_line

MIB = 1 << 20
_SECTOR = 512
_ENTRIES, _ENTRY_SIZE = 128, 128
_TABLE_SECTORS = _ENTRIES * _ENTRY_SIZE // _SECTOR
_HEADER_SIZE = 92

EFI_SYSTEM = uuid.UUID("C12A7328-F81F-11D2-BA4B-00A0C93EC93B")
LINUX = uuid.UUID("0FC63DAF-8483-4772-8E79-3D69D8477DE4")
"""Partition types: UEFI 2.10, table 5.7, and the UAPI group's Discoverable Partitions Specification."""


@dataclass(frozen=True)
class Partition:
    """`label`: its name in the table, at most 36 letters; what /dev/disk/by-partlabel shows."""

    label: str
    size_mib: int
    kind: uuid.UUID = LINUX


class Disk:
    """The file and where each partition is in it. Nothing is written before `make`."""

    def __init__(self, path: Path, partitions: Sequence[Partition]) -> None:
        self.path = path
        self.partitions = {partition.label: partition for partition in partitions}
        starts = [MIB]
        for partition in partitions:
            starts.append(starts[-1] + partition.size_mib * MIB)
        self.starts = dict(zip(self.partitions, starts, strict=False))
        """First byte of each partition."""
        self.size = starts[-1] + MIB

    def make(self) -> None:
        """An empty disk with the table at both its ends."""
        last = self.size // _SECTOR - 1
        entries = b"".join(map(self._entry, self.partitions.values())).ljust(_ENTRIES * _ENTRY_SIZE, b"\0")
        with self.path.open("wb") as file:
            file.truncate(self.size)
            file.write(_protective_mbr(last))
            file.write(_header(1, last, 2, last, entries) + entries)
            file.seek((last - _TABLE_SECTORS) * _SECTOR)
            file.write(entries + _header(last, 1, last - _TABLE_SECTORS, last, entries))

    def ext4(self, label: str, tree: Path | None = None) -> None:
        """An ext4 file system with the files of `tree`."""
        ext4(self.path, self.partitions[label].size_mib, tree, at=self.starts[label])

    def fat(self, label: str, files: Mapping[str, bytes]) -> None:
        """A FAT32 file system; `files`: what is in it, by path."""
        drive = f"{self.path}@@{self.starts[label]}"
        sectors = self.partitions[label].size_mib * MIB // _SECTOR
        _run("mformat", "-i", drive, "-F", "-T", str(sectors), "-h", "255", "-s", "63", "::")
        for folder in sorted({str(folder) for name in files for folder in Path(name).parents} - {"."}):
            _run("mmd", "-i", drive, f"::{folder}")
        for name, content in files.items():
            _run("mcopy", "-i", drive, "-", f"::{name}", data=content)

    def _entry(self, partition: Partition) -> bytes:
        first = self.starts[partition.label] // _SECTOR
        last = first + partition.size_mib * MIB // _SECTOR - 1
        itself = uuid.uuid5(partition.kind, partition.label)  # unlike any other, and the same every time
        name = partition.label.encode("utf-16-le")
        return partition.kind.bytes_le + itself.bytes_le + struct.pack("<QQQ72s", first, last, 0, name)


def ext4(image: Path, size_mib: int, tree: Path | None, at: int = 0) -> None:
    """An ext4 file system in a file, `at` so many bytes from its start, with the files of `tree` and their owners."""
    content = [] if tree is None else ["-d", str(tree)]
    _run("mkfs.ext4", "-q", "-F", *content, "-E", f"offset={at}", str(image), f"{size_mib}M")


def _header(here: int, other: int, table: int, last: int, entries: bytes) -> bytes:
    """Sector `here`: UEFI 2.10, table 5.5. `last`: the disk's last sector; `table`: the first one of the entries."""
    first_usable, last_usable = 2 + _TABLE_SECTORS, last - _TABLE_SECTORS - 1
    disk = uuid.uuid5(LINUX, "edge-runtime").bytes_le
    head = struct.pack("<8sII", b"EFI PART", 0x10000, _HEADER_SIZE)
    places = struct.pack("<IQQQQ16s", 0, here, other, first_usable, last_usable, disk)
    rest = places + struct.pack("<QIII", table, _ENTRIES, _ENTRY_SIZE, zlib.crc32(entries))
    checksum = struct.pack("<I", zlib.crc32(head + bytes(4) + rest))
    return (head + checksum + rest).ljust(_SECTOR, b"\0")


def _protective_mbr(last: int) -> bytes:
    """UEFI 2.10, section 5.2.3: one partition of type 0xEE over the whole disk, for programs that know no GPT."""
    whole = struct.pack("<B3sB3sII", 0, b"\x00\x02\x00", 0xEE, b"\xff\xff\xff", 1, min(last, 0xFFFFFFFF))
    return bytes(446) + whole.ljust(64, b"\0") + b"\x55\xaa"


def _run(*command: str, data: bytes = b"") -> None:
    result = subprocess.run(command, input=data, capture_output=True, check=False)
    if result.returncode != 0:
        raise EdgeError(f"{command[0]}: {one_line(result.stderr.decode(errors='replace'))}")
