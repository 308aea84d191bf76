"""Messages of one kind, written and read as an array, and by the reader that knows nothing of arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.protobuf import Message
from edge_runtime.protobuf_table import Table
from edge_runtime.protobuf_write import DOUBLE, ENUM, Field, Kind, data, double, integer

KIND = Kind("Some", (Field("way", 1, ENUM, "x.Way"), Field("left", 2, DOUBLE), Field("far", 300, DOUBLE)))


@given(st.lists(st.tuples(st.integers(0, 127), st.floats(), st.floats()), max_size=20))
def test_there_and_back(rows: list[tuple[int, float, float]]) -> None:
    columns = {name: np.array([row[k] for row in rows]) for k, name in enumerate(("way", "left", "far"))}
    messages = Table(KIND).encode(columns)
    found = Table(KIND).decode(messages)
    for name, column in columns.items():
        np.testing.assert_array_equal(found[name], column)
    for message, (way, left, far) in zip(messages, rows, strict=True):
        read = Message(message)
        assert read.numbers == {1: way}
        np.testing.assert_array_equal([read.doubles[2], read.doubles[300]], [left, far])


@pytest.mark.parametrize(
    "message",
    [b"", integer(1, 1) + double(2, 0.5), integer(1, 1) + double(3, 0.5) + double(300, 0.5), bytes(21)],
)
def test_messages_of_another_kind_are_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match="a message has"):
        Table(KIND).decode([message])


@given(st.integers(1, 2**28), st.integers(0, 2**63), st.binary(max_size=300))
def test_fields_as_the_reader_reads_them(number: int, value: int, content: bytes) -> None:
    read = Message(integer(number, value) + data(number + 1, content) + data(number + 2, "é"))
    assert read.numbers == {number: value}
    assert (read.last(number + 1), read.last(number + 2)) == (content, "é".encode())
