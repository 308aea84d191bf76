"""Work that must not disturb the robot that is running: last in every queue, and never on its control core."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def be_modest(control_cpu: int) -> None:
    """From now on the calling thread, and those that it starts, run only where nobody else would.

    SCHED_IDLE holds for the disk, too: it is the idle I/O class where no other was asked for (Linux,
    include/linux/ioprio.h, task_nice_ioclass), and there is no way back from it without privileges (sched(7)).
    `control_cpu` is left alone where it is not -1. When memory runs out, this process is what the kernel ends.
    """
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores - {control_cpu} or cores)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
