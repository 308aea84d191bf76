"""Page faults of one thread, as the kernel counts them."""

from __future__ import annotations

import mmap
import threading

from edge_runtime import page_faults
from edge_runtime.page_faults import Watch


def touch(pages: int) -> None:
    """Memory that nobody has touched before."""
    with mmap.mmap(-1, pages * mmap.PAGESIZE) as fresh:
        fresh.madvise(mmap.MADV_NOHUGEPAGE)
        for page in range(pages):
            fresh[page * mmap.PAGESIZE] = 1


def test_only_those_of_the_thread_that_is_meant() -> None:
    me = threading.get_native_id()
    before = page_faults.of_thread(me)
    other = threading.Thread(target=touch, args=(300,))
    other.start()
    other.join()
    between = page_faults.of_thread(me)
    touch(300)
    assert between.minor - before.minor < 200
    assert page_faults.of_thread(me).minor - between.minor >= 300


def test_they_count_from_when_the_thread_is_warm() -> None:
    over = threading.Event()
    watch = Watch(over, 0.0)
    watch.start()
    over.wait(2 * page_faults.LOOK_S)
    over.set()
    watch.join()
    assert watch.counted is not None
    assert watch.counted.major >= 0


def test_a_run_that_is_over_before_it_is_warm_has_no_figure() -> None:
    over = threading.Event()
    watch = Watch(over, 60.0)
    watch.start()
    over.set()
    watch.join()
    assert watch.counted is None
