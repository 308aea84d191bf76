"""When a robot may begin by itself: every way in which a run ends, and every way in which the next one begins."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edge_runtime.config import Robot
from edge_runtime.deploy.service.latch import CRASHED, Latch
from edge_runtime.files import write_whole
from tests.edge_runtime.fakes import robot

CARDRESET, OVERHEAT = 0x20, 0x01


class Machine:
    """Its disk, and what its kernel says."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.mark = folder / "var/last-run"
        self.boots = 0
        self.boot()

    def boot(self, status: int = 0) -> None:
        """Start the machine anew."""
        self.boots += 1
        write_whole(self.root / "proc/sys/kernel/random/boot_id", f"boot-{self.boots}\n")
        write_whole(self.root / "sys/class/watchdog/watchdog0/bootstatus", f"{status}\n")

    def latch(self) -> Latch:
        """Of a service that starts."""
        made = Latch(self.mark, self.root)
        made.look()
        return made

    def begun(self, settings: Robot) -> tuple[Latch, bool]:
        """A run that begins, and whether it begins by itself."""
        made = self.latch()
        return made, made.begin(settings).policy.autostart

    def starts(self, settings: Robot) -> bool:
        return self.begun(settings)[1]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Robot:
    made = robot(tmp_path)
    return msgspec.structs.replace(made, policy=msgspec.structs.replace(made.policy, autostart=True, instruction="go"))


def test_the_first_start_and_every_one_after_a_proper_end(machine: Machine, settings: Robot) -> None:
    for _ in range(2):
        latch, starts = machine.begun(settings)
        assert starts
        latch.end(left=False)
    assert not machine.mark.exists()


def test_without_autostart_nothing_ever_begins(machine: Machine, settings: Robot) -> None:
    manual = msgspec.structs.replace(settings, policy=msgspec.structs.replace(settings.policy, autostart=False))
    latch, starts = machine.begun(manual)
    assert not starts
    latch.end(left=True)
    assert machine.starts(settings), "nobody disarmed what had never begun by itself"


def test_a_process_that_died_holds_over_any_number_of_starts_and_boots(machine: Machine, settings: Robot) -> None:
    assert machine.starts(settings)
    for boot in (False, False, True, True):
        if boot:
            machine.boot()
        latch, starts = machine.begun(settings)
        assert not starts
        latch.end(left=True)


def test_it_is_known_although_the_starts_after_it_fail_early_and_the_machine_then_reboots(
    machine: Machine, settings: Robot
) -> None:
    assert machine.starts(settings)
    machine.latch()  # whose bundle is damaged, say
    machine.boot()
    assert not machine.starts(settings)


def test_a_power_cut_in_a_run_is_no_reason_to_wait(machine: Machine, settings: Robot) -> None:
    assert machine.starts(settings)
    machine.boot(status=OVERHEAT)
    assert machine.starts(settings)


def test_a_reset_by_the_hardware_watchdog_is(machine: Machine, settings: Robot) -> None:
    assert machine.starts(settings)
    machine.boot(status=CARDRESET | OVERHEAT)
    assert not machine.starts(settings)
    machine.boot()
    assert not machine.starts(settings)


def test_a_person_who_arms_it_ends_that(machine: Machine, settings: Robot) -> None:
    machine.mark.parent.mkdir()
    machine.mark.write_text(CRASHED)
    latch, starts = machine.begun(settings)
    assert not starts
    latch.armed()
    assert machine.mark.read_text() == "runs boot-1\n"
    latch.end(left=False)
    assert machine.starts(settings)


def test_what_died_after_a_person_armed_it_has_died_again(machine: Machine, settings: Robot) -> None:
    machine.mark.parent.mkdir()
    machine.mark.write_text(CRASHED)
    machine.begun(settings)[0].armed()
    assert not machine.starts(settings)


def test_what_a_person_disarmed_stays_so_until_the_next_power_on(machine: Machine, settings: Robot) -> None:
    latch, _ = machine.begun(settings)
    latch.end(left=True)
    for _ in range(2):
        latch, starts = machine.begun(settings)
        assert not starts
        latch.end(left=True)
    assert not machine.starts(settings)
    machine.boot()  # by a power cut
    assert machine.starts(settings)


@pytest.mark.parametrize("before", ["", CRASHED, "left boot-1"])
def test_a_start_that_never_came_to_its_loop_leaves_what_there_was(
    machine: Machine, settings: Robot, before: str
) -> None:
    machine.mark.parent.mkdir()
    if before:
        machine.mark.write_text(before)
    latch, starts = machine.begun(settings)
    latch.undo()
    assert machine.starts(settings) == starts == (not before)


def test_a_mark_that_says_nothing_known_counts_as_the_worst(machine: Machine, settings: Robot) -> None:
    machine.mark.parent.mkdir()
    machine.mark.write_bytes(b"\xff\0")
    assert not machine.starts(settings)


def test_a_disk_that_takes_no_mark_stops_no_robot_but_lets_none_begin(
    machine: Machine, settings: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge_runtime.deploy.service.latch.write_whole", full)
    latch, starts = machine.begun(settings)
    assert not starts
    latch.end(left=True)


def test_the_mark_is_on_the_disk_before_the_arm_may_be_used(
    machine: Machine, settings: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[int] = []
    monkeypatch.setattr("os.fsync", settled.append)
    latch = machine.latch()
    assert not settled
    latch.begin(settings)
    assert len(settled) == 2, "the file and its name"
