"""Work on a thread that can be left behind, in a call that never returns."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from edge_runtime.apart import apart, left_behind
from edge_runtime.errors import BackendError, DeviceLost, EdgeError, InferenceHung, fatal


def test_what_the_work_returns_and_raises_is_its_own() -> None:
    def fail() -> None:
        raise BackendError("no such graph")

    assert apart(threading.current_thread) is not threading.current_thread()
    with pytest.raises(BackendError, match="no such graph"):
        apart(fail)
    assert not left_behind()


def test_a_signal_leaves_it_behind_until_it_returns() -> None:
    back = threading.Event()

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        back.wait()

    with pytest.raises(KeyboardInterrupt):
        apart(work)
    assert left_behind()
    back.set()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.name == "apart":
            thread.join()
    assert not left_behind()


@pytest.mark.parametrize("kind", [InferenceHung, DeviceLost])
def test_what_ends_the_process_is_found_behind_what_it_led_to(kind: type[EdgeError]) -> None:
    def fail() -> None:
        try:
            raise kind("for a day")
        finally:
            raise OSError(28, "full")

    with pytest.raises(OSError, match="full") as caught:
        fail()
    assert isinstance(fatal(caught.value), kind)
    assert fatal(OSError(28, "full")) is None
    assert fatal(None) is None


def test_the_command_line_ends_for_it_whatever_it_led_to() -> None:
    code = """
import atexit, sys, time
from edge_runtime import cli
from edge_runtime.errors import DeviceLost

@cli.edge.command()
def work():
    atexit.register(time.sleep, 3600)
    print("half said")
    try:
        raise DeviceLost("illegal address")
    finally:
        raise OSError(28, "No space left on device")

sys.exit(cli.main(["work"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "half said\n", "edge: illegal address\n")
