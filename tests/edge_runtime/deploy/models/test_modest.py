"""What a deployment may take of a robot that runs: asked of the kernel, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conftest import ROOT

PROGRAM = """
import os, threading
from edge_runtime.deploy.models.modest import be_modest
be_modest({cpu})
found = []
thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
thread.start(); thread.join()
print(os.sched_getscheduler(0), found[0], sorted(os.sched_getaffinity(0)), open("/proc/self/oom_score_adj").read())
"""


def modest(cpu: int) -> list[str]:
    command = [sys.executable, "-c", PROGRAM.format(cpu=cpu)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.split(" ", 2)


def test_it_is_last_in_every_queue_with_the_threads_that_it_starts() -> None:
    cores = sorted(os.sched_getaffinity(0))
    idle = str(os.SCHED_IDLE)
    assert modest(-1) == [idle, idle, f"{cores} 1000\n\n"]


def test_it_keeps_off_the_control_core_where_there_is_another() -> None:
    cores = sorted(os.sched_getaffinity(0))
    others = cores[1:] or cores
    assert modest(cores[0])[2].startswith(f"{others} ")
