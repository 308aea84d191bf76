"""`make boot-test`: Debian 12 with the package on it boots in a container, works, hangs, is killed, and comes back.

    python -m benchmarks.boot.nspawn [--only WORDS] [--bundle DIR] [--keep DIR]

The arm is the simulated one, served by a unit of its own in the same container. Exit code 1 where a check fails, 2
where it could not be made; "SKIPPED" and 0 where this machine lacks what it takes. docs/robot.md has the last table.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.boot import failure_trials as failure
from benchmarks.boot import image, installed, tier
from benchmarks.boot import laptop as workstation
from benchmarks.boot import service_trials as service
from benchmarks.boot import software_trials as software
from benchmarks.boot.container import TOOLS, Container
from benchmarks.boot.laptop import Laptop
from benchmarks.boot.results import Checks
from benchmarks.boot.robot import Robot

Trial = tuple[str, str, Callable[[Robot], str]]


def table(beside: Laptop) -> tuple[Trial, ...]:
    """Every trial in its order: its name, what is expected, and what makes it."""
    return (
        ("boots headless", "READY at the first start", service.boots),
        ("waits", "DISARMED, nothing told, no torque since power-on", service.waits_disarmed),
        ("is hardened", f"systemd-analyze security: {service.EXPOSURE} at most", service.is_hardened),
        ("real time", "SCHED_FIFO and locked memory, which the service asks for itself", service.is_real_time),
        ("journal", "limits of the package in force", service.keeps_the_journal_small),
        ("stranger", "a user outside the group is refused", service.refuses_a_stranger),
        ("armed by a person", "READY with torque, through the socket", service.arms),
        ("demo", "an episode succeeds", service.does_a_task),
        ("proves itself", "healthy, deadline report written", service.proves_itself),
        ("hung process", "SIGSTOP at a task: systemd's watchdog, safe action, READY", failure.restarts_what_hangs),
        ("lock held", "for good, at a task: stuck timer, safe action, READY", failure.restarts_what_holds_the_lock),
        ("kill -9", "at a task: safe action, READY, DISARMED", failure.survives_kill_9),
        ("start limit", "killed at every start: failed, safe", failure.gives_up),
        ("by hand again", "reset-failed, start: DISARMED", failure.comes_back_by_hand),
        ("foreign bundle", "refused by edge deploy", partial(software.refuses_a_foreign_bundle, laptop=beside)),
        ("good bundle", "switched after the task, stays", partial(software.switches_between_tasks, laptop=beside)),
        ("bad bundle", "dies soon after its start: the one before", partial(software.goes_back, laptop=beside)),
        ("upgrade", "armed: safe action, READY, bundles stay", software.is_upgraded),
        ("remove", "armed: safe action, bundles stay", software.is_removed),
    )


def run(folder: Path, options: argparse.Namespace) -> int:
    """Build, boot, try. The exit code."""
    checks, tree, beside = Checks(), folder / "root", folder / "laptop"
    _remove(tree, beside)  # of a run that was killed
    try:
        bundle = tier.bundle_of(options)
        owner = Laptop(beside, bundle)
        with ThreadPoolExecutor() as pool:  # one waits for Debian's archive, the other compresses
            package = pool.submit(installed.package, folder, bundle, owner.trust)
            checks.check("image", "Debian 12", lambda: installed.debian(folder, tree))
            checks.check("package", "made and installed", lambda: installed.install(tree, package.result()))
        if not checks.good:
            return 1
        installed.admit(tree, owner.ssh_key)
        with Container(tree, folder / "console.log") as box:
            robot, versions = Robot(box), _versions(box)
            _try(robot, table(owner), options.only.casefold(), checks)
        if not options.only:
            print(checks.write("nspawn", system=installed.SYSTEM, versions=versions, faults=robot.faults))
    finally:
        _remove(tree, beside)
    return 0 if checks.good else 1


def _try(robot: Robot, rows: Sequence[Trial], only: str, checks: Checks) -> None:
    for name, expected, look in rows:
        if only not in name.casefold():
            continue
        if not checks.check(name, expected, partial(look, robot)) and look is service.boots:
            return  # everything else would wait for it in vain


def _versions(box: Container) -> dict[str, str]:
    """Of what the robot runs on, and of the package."""
    commands = {
        "systemd": ("systemctl", "--version"),
        "python": ("python3", "--version"),
        "package": ("dpkg-query", "--show", "edge-runtime"),
    }
    return {name: box.sure(*command).splitlines()[0].split()[1] for name, command in commands.items()}


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _need() -> None:
    image.need_root()
    image.need(TOOLS | workstation.TOOLS)


def main() -> int:
    return tier.main("nspawn", __doc__, _need, run)


if __name__ == "__main__":
    sys.exit(main())
