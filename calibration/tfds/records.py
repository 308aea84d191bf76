"""TFRecord framing: uint64 length, masked crc32c of it, the data, masked crc32c of the data; little-endian.

tensorflow/core/lib/io/record_writer.h. A wrong checksum of data costs one record; a wrong checksum of a length costs
the rest of the file, because nothing tells where the next record begins.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from calibration.datasets.base import Damage, DatasetError
from calibration.tfds.crc32c import masked_crc32c

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


@dataclass(frozen=True)
class Record:
    """One record of a shard: its place and its bytes."""

    index: int
    offset: int
    data: bytes


def place(path: Path, index: int, offset: int) -> str:
    """How messages name a record."""
    return f"{path}, record {index} at byte {offset}"


def read_records(path: Path, count: int, damage: Damage) -> Iterator[Record]:
    """Every whole record of a shard that should hold `count`.

    What is not whole goes to `damage`, and reading goes on behind it where that is possible.
    """
    try:
        with path.open("rb") as file:
            yield from _records(file, os.fstat(file.fileno()).st_size, path, count, damage)
    except OSError as error:
        damage(DatasetError(f"{path}: {error.strerror or error}"))


def _records(file: BinaryIO, size: int, path: Path, count: int, damage: Damage) -> Iterator[Record]:
    index, offset = 0, 0
    while offset < size:
        where = place(path, index, offset)
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return damage(DatasetError(f"{where}: the file ends inside the record's header"))
        length, length_crc = _HEADER.unpack(header)
        if masked_crc32c(header[:8]) != length_crc:
            return damage(DatasetError(f"{where}: wrong checksum of the length; the rest of the file is lost"))
        whole = _HEADER.size + length + _FOOTER.size
        if offset + whole > size:
            return damage(
                DatasetError(f"{where}: the file ends inside the record ({whole} bytes, {size - offset} left)")
            )
        data = file.read(length)
        footer = file.read(_FOOTER.size)
        if len(data) + len(footer) < length + _FOOTER.size:
            return damage(DatasetError(f"{where}: the file shrank while it was read"))
        if masked_crc32c(data) == _FOOTER.unpack(footer)[0]:
            yield Record(index, offset, data)
        else:
            damage(DatasetError(f"{where}: wrong checksum of the data"))
        index, offset = index + 1, offset + whole
    if index != count:
        damage(DatasetError(f"{path}: holds {index} records, {count} were promised"))
