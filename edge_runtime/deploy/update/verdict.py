"""What becomes of the slot that runs: it is good, or the robot goes back to the other one, once."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.deploy import tools
from edge_runtime.deploy.places import HEALTHY, under
from edge_runtime.deploy.update import health, rauc, record
from edge_runtime.deploy.update.rauc import Status
from edge_runtime.errors import UpdateError

_REBOOT_S = 60.0


def good(root: Path = Path("/")) -> str:
    """Mark the slot that runs good if the service has proved itself. Returns what was done; raises `EdgeError`."""
    well = health.read(under(root, HEALTHY))
    status = rauc.status(root)
    booted, trial = status.booted, record.on_trial(root)
    if trial is None or trial.slot != booted.bootname:
        return _confirm(status)
    rauc.mark("good")
    record.end(root, trial, good=True, why=f"{well.ticks} cycles in time, self-test passed")
    return f"slot {booted.bootname}: version {trial.version} is good: {well.ticks} cycles in time, self-test passed"


def good_unless_on_trial(root: Path = Path("/")) -> str:
    """Mark the slot that runs good if it proved itself in an earlier start. Called once in each start.

    An update of an earlier start that does not run now was given up by the bootloader, or never wholly installed: it
    is not tried again. Returns what was done; raises `EdgeError`.
    """
    status, trial = rauc.status(root), record.on_trial(root)
    if trial is not None and trial.slot == status.booted.bootname:
        return f"slot {trial.slot}: version {trial.version} is on trial until the service has proved itself"
    said = _confirm(status)
    if trial is None or trial.boot == record.boot(root):
        return said
    if not status.other.good:  # a good one is what it was before: the update was refused, and nothing written
        rauc.mark_other_bad()
    record.end(root, trial, good=False, why="it did not start, or was never wholly installed")
    return f"{said}; version {trial.version} in slot {trial.slot} did not start and is given up"


def failed(root: Path = Path("/"), *, unless_healthy: bool = False) -> str:
    """Go back to the other slot if the one that runs is on trial and the other is good. Returns what was done.

    A slot that proved itself stays: the robot rests, and nothing restarts over and over. Raises `EdgeError`.
    """
    if unless_healthy and _healthy(root):
        return "the service is well: nothing to go back from"
    status, trial = rauc.status(root), record.on_trial(root)
    booted, other = status.booted, status.other
    if trial is None or trial.slot != booted.bootname:
        return f"slot {booted.bootname} proved itself before: it stays, and the robot rests"
    if not other.good:
        record.end(root, trial, good=False, why=f"it failed, but stays: slot {other.bootname} is not good")
        return f"slot {booted.bootname} failed its trial, but slot {other.bootname} is not good: it stays"
    rauc.mark("bad")
    if rauc.status(root).primary != other.bootname:
        raise UpdateError(
            f"slot {booted.bootname} is marked bad, but slot {other.bootname} is not to start next: it stays"
        )
    record.end(root, trial, good=False, why="the service did not prove itself")
    tools.run(["systemctl", "reboot"], timeout_s=_REBOOT_S, what="systemctl reboot")
    return f"slot {booted.bootname}: version {trial.version} failed its trial; back to slot {other.bootname}"


def _confirm(status: Status) -> str:
    if status.booted.good:
        return f"slot {status.booted.bootname} is good already"
    rauc.mark("good")
    return f"slot {status.booted.bootname} is good"


def _healthy(root: Path) -> bool:
    try:
        health.read(under(root, HEALTHY))
    except UpdateError:
        return False
    return True
