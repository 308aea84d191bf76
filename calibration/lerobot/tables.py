"""Parquet files of a LeRobotDataset: rows by their place; damage of any kind is one `TableError`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from calibration.datasets.base import DatasetError, Floats
from edge_runtime.errors import one_line

_MOST_ROWS = 1 << 40


class TableError(ValueError):
    """Why a file or a column of it cannot be read; whoever knows the place adds it."""


class Table:
    """One parquet file, read a row group at a time; the last group read is kept, since episodes share them."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._columns = list(columns)
        self._held: tuple[int, pa.Table | TableError] = (-1, TableError())
        if not path.is_file():
            raise TableError("no such file")
        with _damage("cannot be read as parquet"):
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
            metadata = self._file.metadata
            sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
            names = self._file.schema_arrow.names
        if not 0 <= min(sizes, default=0) <= sum(sizes) <= _MOST_ROWS:
            raise TableError(f"{sum(sizes)} rows cannot be")
        for column in columns:
            if names.count(column) != 1:
                raise TableError(f"{names.count(column)} columns {column!r}, one is expected")
        self._ends = np.cumsum([0, *sizes])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def rows(self, first: int, count: int) -> pa.Table:
        """Rows [first, first + count), at least one; row groups without any of them are not looked at."""
        if first + count > len(self):
            raise TableError(f"the file holds {len(self)} rows, {first + count} were promised")
        begin, end = np.searchsorted(self._ends, [first, first + count - 1], "right") - 1
        parts = []
        for group in range(begin, end + 1):
            skipped = max(0, first - int(self._ends[group]))
            taken = first + count - max(first, int(self._ends[group]))
            parts.append(self._read(group).slice(skipped, taken))
        return pa.concat_tables(parts)

    def _read(self, group: int) -> pa.Table:
        if group != self._held[0]:
            try:
                self._held = (group, self._decoded(group))
            except TableError as error:
                self._held = (group, error)
        if isinstance(self._held[1], TableError):
            raise self._held[1]
        return self._held[1]

    def _decoded(self, group: int) -> pa.Table:
        rows = int(self._ends[group + 1] - self._ends[group])
        with _damage(f"row group {group} cannot be read as parquet"):
            table = self._file.read_row_group(group, columns=self._columns, use_threads=False)
            table.validate(full=True)
        if table.num_rows != rows:
            raise TableError(f"row group {group} holds {table.num_rows} rows, {rows} were promised")
        return table


def names(path: Path) -> list[str]:
    """Columns of a file of the description."""
    try:
        with _damage("cannot be read as parquet"):
            return list(pq.read_schema(path).names)
    except TableError as error:
        raise DatasetError(f"{path}: {error}") from error


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """All rows of a small file of the description."""
    try:
        table = Table(path, columns)
        if not len(table):
            raise TableError("no rows")
        with _damage("cannot be read as parquet"):
            found: list[dict[str, Any]] = table.rows(0, len(table)).select(list(columns)).to_pylist()
            return found
    except TableError as error:
        raise DatasetError(f"{path}: {error}") from error


def vectors(table: pa.Table, name: str, dims: int) -> Floats:
    """[rows, dims] float32 of a column of lists, or of numbers where `dims` is 1."""
    column = _column(table, name)
    with _damage(repr(name)):
        if pa.types.is_fixed_size_list(column.type):
            sizes = [column.type.list_size]
        elif pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            sizes = np.unique(np.diff(column.offsets.to_numpy())).tolist()
        else:
            sizes = [1]
        values = column.flatten() if pa.types.is_nested(column.type) else column
        if sizes != [dims] or not pa.types.is_floating(values.type):
            raise TableError(f"{name!r} is {column.type} of {sizes} values, not {dims} floats in each row")
        if values.null_count:
            raise TableError(f"{name!r} has {values.null_count} values left out")
        return np.asarray(values.to_numpy(zero_copy_only=False), np.float32).reshape(len(column), dims)


def integers(table: pa.Table, name: str) -> NDArray[np.int64]:
    """[rows] of a column of integers."""
    column = _column(table, name)
    if not pa.types.is_integer(column.type):
        raise TableError(f"{name!r} is {column.type}, not integers")
    with _damage(repr(name)):
        return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)


def images(table: pa.Table, name: str) -> list[bytes]:
    """Encoded images: a column of structs with `bytes`, as the `datasets` library stores them, or of plain bytes."""
    column = _column(table, name)
    with _damage(repr(name)):
        if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
            column = column.field("bytes")
        if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
            raise TableError(f"{name!r} is {column.type}, not images")
        if column.null_count:
            raise TableError(f"{name!r} has {column.null_count} rows without an image in the file")
        found: list[bytes] = column.to_pylist()
        return found


@contextmanager
def _damage(what: str) -> Iterator[None]:
    try:
        yield
    except TableError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        reason = one_line(error, 200) or type(error).__name__
        raise TableError(f"{what}: {reason}") from error


def _column(table: pa.Table, name: str) -> pa.Array:
    """One column in one piece, without gaps."""
    column = pa.concat_arrays(table.column(name).chunks)
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if column.null_count:
        raise TableError(f"{name!r} has {column.null_count} empty rows")
    return column
