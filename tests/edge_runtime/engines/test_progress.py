"""How far a build is, and how it ends early."""

from __future__ import annotations

import os
import signal
import threading

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.engines.progress import Phases, Stop


def test_phases_within_phases() -> None:
    phases = Phases()
    phases.start("whole", None, 4)
    told = [phases.done()]
    phases.step("whole", 0)
    told.append(phases.done())
    phases.start("part", "whole", 2)
    phases.step("part", 0)
    told.append(phases.done())
    phases.finish("part")
    told.append(phases.done())
    phases.step("whole", 1)
    told.append(phases.done())
    phases.finish("whole")
    told.append(phases.done())
    assert told == [0.0, 0.25, 0.375, 0.375, 0.5, 0.5]


EVENT = st.tuples(
    st.sampled_from(["start", "step", "finish"]), st.sampled_from("abc"), st.sampled_from("abc"), st.integers(-1, 5)
)


@given(st.lists(EVENT))
def test_it_never_goes_back_nor_beyond_the_whole(events: list[tuple[str, str, str, int]]) -> None:
    phases, before = Phases(), 0.0
    for kind, name, parent, number in events:
        if kind == "start":
            phases.start(name, parent if parent < name else None, number)
        elif kind == "step":
            phases.step(name, number)
        else:
            phases.finish(name)
        now = phases.done()
        assert before <= now <= 1.0
        before = now


def test_ctrl_c_asks_for_the_end_and_the_handler_from_before_comes_back() -> None:
    before, stop = signal.getsignal(signal.SIGINT), Stop()
    with stop.on_interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == before


def test_another_thread_leaves_signals_alone() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with Stop().on_interrupt():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
