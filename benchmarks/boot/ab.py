"""`make boot-test-ab`: a PC with two system slots boots, is updated, is given bad updates, and loses its power.

    python -m benchmarks.boot.ab [--only WORDS] [--keep DIR]

GRUB, Debian's kernel, systemd and RAUC are the real ones, in qemu without KVM; the arm is two simulated servos. Exit
code 1 where a check fails, 2 where it could not be made; "SKIPPED" and 0 where this machine lacks what it takes.
docs/robot.md has the last table.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.boot import grub, image, releases, tier
from benchmarks.boot import update_trials as trials
from benchmarks.boot.results import Checks
from benchmarks.boot.two_slots import TwoSlots

TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "grub-mkimage": "grub-common",
    "mformat": "mtools",
    "mkfs.ext4": "e2fsprogs",
    "rauc": "rauc",
    "mksquashfs": "squashfs-tools",
    "openssl": "openssl",
}
REFUSED = "both edge update install and rauc install refuse it; boot order and slots unchanged"
CUT = "slot A to READY, slot B not good"
GIVEN_UP = "back to slot B by itself, slot A not good"
TRIALS: tuple[tuple[str, str, trials.Trial], ...] = (
    ("first boot", "slot A to READY", trials.boots),
    ("proves itself", "healthy, then slot A is marked good", trials.is_good),
    ("unsigned bundle", REFUSED, partial(trials.refuses, bundle="unsigned")),
    ("foreign key", REFUSED, partial(trials.refuses, bundle="foreign")),
    ("tampered payload", REFUSED, partial(trials.refuses, bundle="tampered")),
    ("power cut before the first byte", CUT, partial(trials.survives_power_cut, when=trials.ON_RECORD)),
    ("power cut after 20 MiB", CUT, partial(trials.survives_power_cut, when=trials.at_least(20))),
    ("power cut after 500 MiB", CUT, partial(trials.survives_power_cut, when=trials.at_least(500))),
    ("good update", "slot B on trial, good only when healthy", trials.keeps_good_update),
    ("older version", REFUSED, partial(trials.refuses, bundle="older")),
    ("service fails", GIVEN_UP, partial(trials.gives_up_update, bundle="lame")),
    ("runtime missing", GIVEN_UP, partial(trials.gives_up_update, bundle="mute")),
    ("no init", GIVEN_UP, partial(trials.gives_up_update, bundle="dead")),
    ("power cut at the switch", "READY, in the old system or the new one", trials.survives_power_cut_at_the_switch),
)


def run(folder: Path, options: argparse.Namespace) -> int:
    """Build, boot, try. The exit code."""
    checks, robot = Checks(), TwoSlots(folder)
    chosen = [trial for trial in TRIALS if options.only.casefold() in trial[0].casefold()]
    _make(checks, robot, folder)
    if not checks.good:
        return 1
    try:
        for name, expected, look in chosen:
            checks.check(name, expected, partial(look, robot))
    finally:
        robot.machine.power_cut()
    if len(chosen) == len(TRIALS):
        print(checks.write("ab", system=releases.SYSTEM))
    return 0 if checks.good else 1


def _make(checks: Checks, robot: TwoSlots, folder: Path) -> None:
    tree, keys, stick = folder / "root", folder / "keys", folder / "stick"
    own, foreign = keys / "own", keys / "foreign"
    steps: tuple[tuple[str, str, Callable[[], str]], ...] = (
        ("keys", "edge update keygen", lambda: releases.keys(own, foreign)),
        ("system", "Debian 12 with the package", lambda: releases.first(folder, tree, own / "cert.pem")),
        ("disk", "two slots", lambda: robot.lay(tree)),
        ("bundles", "edge update build", lambda: releases.bundles(tree, stick, own, foreign)),
        ("stick", "the bundles on it", lambda: robot.lay_stick(stick)),
    )
    try:
        for name, expected, make in steps:
            if not checks.check(name, expected, make):
                return
    finally:
        for path in (tree, keys, stick):
            shutil.rmtree(path, ignore_errors=True)


def _need() -> None:
    image.need_root()
    image.need(TOOLS)
    grub.need()


def main() -> int:
    return tier.main("ab", __doc__, _need, run, bundle=False)


if __name__ == "__main__":
    sys.exit(main())
