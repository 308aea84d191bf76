"""The one-place mailbox under threads: what is taken is whole, never older than before, and in the end the newest."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

from edge_runtime.slot import Slot


def test_nothing_before_the_first_and_the_newest_afterwards() -> None:
    slot = Slot([0], [0], [0])
    assert slot.take() is None
    for value in (1, 2, 3):
        slot.back[0] = value
        slot.publish()
    assert slot.take() == [3]
    assert slot.take() == [3]


def test_what_is_held_is_not_written_to() -> None:
    slot = Slot([0], [0], [0])
    slot.back[0] = 1
    slot.publish()
    held = slot.take()
    for value in range(2, 10):
        assert slot.back is not held
        slot.back[0] = value
        slot.publish()
    assert held == [1]
    assert slot.take() == [9]


@pytest.fixture
def _hurried() -> object:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_two_readers_hold_two_buffers() -> None:
    slot = Slot(*([0] for _ in range(4)))
    slot.back[0] = 1
    slot.publish()
    first = slot.take(0)
    slot.back[0] = 2
    slot.publish()
    second = slot.take(1)
    for value in range(3, 12):
        assert slot.back is not first
        assert slot.back is not second
        slot.back[0] = value
        slot.publish()
    assert (first, second) == ([1], [2])
    assert slot.take(0) == slot.take(1) == [11]


def test_two_buffers_serve_nobody() -> None:
    with pytest.raises(ValueError, match="takes three buffers, not 2"):
        Slot([0], [0])


@pytest.mark.usefixtures("_hurried")
@pytest.mark.parametrize("readers", [1, 2])
def test_a_reader_never_sees_a_torn_or_an_older_value(readers: int) -> None:
    rounds, size = 20_000, 64
    slot = Slot(*(np.zeros(size, np.int64) for _ in range(2 + readers)))
    torn: list[str] = []
    done = threading.Event()

    def read(reader: int) -> None:
        last = 0
        while True:
            ended = done.is_set()
            value = slot.take(reader)
            if value is not None:
                first, final = int(value[0]), int(value[-1])
                middle = int(value[size // 2])
                if not first == middle == final:
                    torn.append(f"{first} {middle} {final}")
                if first < last:
                    torn.append(f"{first} after {last}")
                last = first
            if ended:
                if last != rounds:
                    torn.append(f"ended at {last}")
                return

    threads = [threading.Thread(target=read, args=(reader,)) for reader in range(readers)]
    for thread in threads:
        thread.start()
    for count in range(1, rounds + 1):
        back = slot.back
        for index in (0, size // 2, size - 1):  # in several steps, so that the reader may come between
            back[index] = count
        slot.publish()
    done.set()
    for thread in threads:
        thread.join()
    assert torn == []
