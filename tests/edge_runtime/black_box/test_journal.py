"""What is copied while it is written is whole or not there, however often the writer comes round meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.arena import Arena, Array, private, seen
from edge_runtime.black_box.journal import Journal, records

ROOT = Path(__file__).resolve().parents[3]


class Arrays(dict[str, Array]):
    """An allocator that knows what it gave."""

    def __call__(self, name: str, shape: tuple[int, ...], dtype: object) -> Array:
        self[name] = private(name, shape, dtype)  # type: ignore[arg-type]
        return self[name]


def content(number: int, size: int) -> bytes:
    """Bytes that nobody but this record has."""
    return bytes((number * 31 + k) % 251 for k in range(size))


def made(records_: int, size: int) -> tuple[Arrays, Journal]:
    arrays = Arrays()
    return arrays, Journal(arrays, "j", records_, size)


def test_the_last_records_in_order() -> None:
    arrays, journal = made(4, 100)
    for k in range(7):
        journal.add(k, k % 2, content(k, 10))
    found = records(arrays, "j", settle_s=0)
    assert [(r.t_ns, r.kind, r.data) for r in found] == [(k, k % 2, content(k, 10)) for k in (4, 5, 6)]


def test_few_bytes_hold_few_records_and_one_that_is_too_long_is_left_out() -> None:
    arrays, journal = made(50, 64)
    for k in range(10):
        journal.add(k, 0, content(k, 20))
    journal.add(99, 0, content(0, 65))
    assert [r.t_ns for r in records(arrays, "j", settle_s=0)] == [7, 8, 9]


def test_an_empty_journal_and_empty_records() -> None:
    arrays, journal = made(4, 8)
    assert records(arrays, "j", settle_s=0) == []
    journal.add(5, 1, b"")
    assert [(r.t_ns, r.data) for r in records(arrays, "j", settle_s=0)] == [(5, b"")]


@given(
    before=st.lists(st.integers(0, 40), max_size=30),
    during=st.lists(st.lists(st.integers(0, 40), max_size=12), min_size=4, max_size=4),
    rows=st.integers(2, 9),
    size=st.integers(40, 160),
)
def test_a_copy_in_the_midst_of_writing_holds_no_torn_record(
    before: list[int], during: list[list[int]], rows: int, size: int
) -> None:
    arrays, journal = made(rows, size)
    sizes: list[int] = []

    def write(more: list[int]) -> None:
        for one in more:
            journal.add(len(sizes), 0, content(len(sizes), one))
            sizes.append(one)

    bursts = iter(during)

    def copy_in_halves(array: Array) -> Array:
        """The writer goes on before and in the middle of each copy."""
        write(next(bursts))
        half = array.size // 2
        first = array[:half].copy()
        write(next(bursts))
        return np.concatenate([first, array[half:]])

    write(before)
    found = records(arrays, "j", copy=copy_in_halves, settle_s=0)
    assert [r.data for r in found] == [content(r.t_ns, sizes[r.t_ns]) for r in found]
    assert [r.t_ns for r in found] == sorted({r.t_ns for r in found})
    assert all(r.t_ns < len(before) for r in found), "what came later may be half there"


def test_a_copy_without_a_writer_holds_all_that_fits() -> None:
    arrays, journal = made(1000, 100_000)
    for k in range(300):
        journal.add(k, 0, content(k, k % 50))
    assert [r.data for r in records(arrays, "j", settle_s=0)] == [content(k, k % 50) for k in range(300)]


WRITER = """
import sys, json
from edge_runtime.arena import seen
from edge_runtime.black_box.journal import Journal
from tests.edge_runtime.black_box.test_journal import content
descriptor, layout = json.loads(sys.argv[1])
arrays = seen(descriptor, layout)
journal = Journal(lambda name, shape, dtype: arrays[name], "j", 64, 4000)
texts = [content(k, 40 + k % 97) for k in range(251)]
print("on", flush=True)
k = 0
while True:
    journal.add(k, 0, texts[k % 251])
    k += 1
"""


@pytest.fixture
def writer() -> Iterator[Callable[[Arena], None]]:
    """A process that writes as fast as it can."""
    started: list[subprocess.Popen[str]] = []

    def start(arena: Arena) -> None:
        told = json.dumps([arena.descriptor, arena.layout])
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, told],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(arena.descriptor,),
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_another_process_that_never_stops_writing_tears_nothing(writer: Callable[[Arena], None]) -> None:
    arena = Arena("test")
    Journal(arena.array, "j", 64, 4000)
    writer(arena)
    arrays = seen(os.dup(arena.descriptor), arena.layout)
    found, end = 0, time.monotonic() + 30
    while found < 1000 or int(arrays["j.head"][1]) < 500 * 64:  # it comes round five hundred times
        for record in records(arrays, "j", settle_s=0):
            assert record.data == content(record.t_ns % 251, 40 + record.t_ns % 251 % 97)
            found += 1
        assert time.monotonic() < end
    arena.close()
