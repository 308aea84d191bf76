"""`make boot-test-arm64`: an emulated ARM board with the package boots over real drivers, hangs and comes back.

    python -m benchmarks.boot.arm64 [--only WORDS] [--bundle DIR] [--keep DIR]

Exit code 1 where a check fails, 2 where it could not be made; "SKIPPED" and 0 where this machine lacks what it takes.
docs/robot.md has the last table. Times are an emulated processor's: they say that something happens, not how fast.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.boot import board, board_trials, tier
from benchmarks.boot.machine import Machine
from benchmarks.boot.results import Checks

Trial = tuple[str, str, Callable[[Machine], str]]
TRIALS: tuple[Trial, ...] = (
    ("boots headless", "READY at the first start", board_trials.boots),
    ("waits", "DISARMED", board_trials.waits_disarmed),
    ("names", "each device in /dev/edge, 0660", board_trials.has_device_names),
    ("real time", "SCHED_FIFO 50, the control thread alone", board_trials.is_real_time),
    ("memory", "locked", board_trials.has_locked_memory),
    ("proves itself", "healthy; deadline report written, and read here", board_trials.proves_itself),
    ("hung process", "SIGSTOP: systemd's watchdog, READY", board_trials.restarts_what_hangs),
    ("armed by a person", "READY, over the USB serial port", board_trials.arms),
    ("kill -9", "armed: safe action, no servo has torque", board_trials.acts_safely_after_kill_9),
    ("hung system", "kernel panic: hardware watchdog, READY", board_trials.resets_a_system_that_hangs),
)


def run(folder: Path, options: argparse.Namespace) -> int:
    """Build, boot, try. The exit code."""
    checks, tree = Checks(), folder / "root"
    bundle = tier.bundle_of(options)
    chosen = [trial for trial in TRIALS if options.only.casefold() in trial[0].casefold()]
    try:
        for name, expected, make in (
            ("image", "Debian 12 for arm64", partial(board.debian, folder, tree)),
            ("package", "made and installed", partial(board.package, folder, tree, bundle)),
            ("disk", "kernel, initrd and disk", partial(board.boot_files, folder, tree)),
        ):
            if not checks.check(name, expected, make):
                return 1
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    with board.machine(folder) as machine:
        for name, expected, look in chosen:
            checks.check(name, expected, partial(look, machine))
    if len(chosen) == len(TRIALS):
        print(checks.write("arm64", system=board.SYSTEM, emulator=board.emulator()))
    return 0 if checks.good else 1


def main() -> int:
    return tier.main("arm64", __doc__, board.need, run)


if __name__ == "__main__":
    sys.exit(main())
