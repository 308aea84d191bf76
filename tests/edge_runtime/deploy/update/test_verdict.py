"""Whether a system stays: kept when the service proved itself, left once when it did not, never left for nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.deploy.update import record, verdict
from edge_runtime.errors import EdgeError, UpdateError
from tests.edge_runtime.deploy.update import programs
from tests.edge_runtime.deploy.update.programs import Robot

REBOOT = "systemctl reboot"
BAD, GOOD, OTHER_BAD = "rauc status mark-bad booted", "rauc status mark-good booted", "rauc status mark-bad other"


@pytest.fixture
def robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Robot:
    return programs.robot(tmp_path, monkeypatch)


def updated(robot: Robot) -> Robot:
    """Slot B has been installed while A ran, and has been started."""
    robot.set("A", tried=0)
    record.begin(robot.root, "B", "1.3")
    robot.set("B", ok=1, tried=0, version="1.3")
    robot.change(order=["B", "A"])
    robot.start("B", "boot-2")
    return robot


def test_a_system_that_proved_itself_is_kept(robot: Robot) -> None:
    updated(robot).healthy(ticks=1200)
    said = verdict.good(robot.root)
    assert said == "slot B: version 1.3 is good: 1200 cycles in time, self-test passed"
    assert robot.called() == [GOOD]
    assert record.on_trial(robot.root) is None
    ended = record.last(robot.root)
    assert ended is not None
    assert ended.good
    assert verdict.failed(robot.root) == "slot B proved itself before: it stays, and the robot rests"
    assert REBOOT not in robot.called()


def test_the_second_word_changes_nothing(robot: Robot) -> None:
    updated(robot).healthy()
    verdict.good(robot.root)
    assert verdict.good(robot.root) == "slot B is good already"
    assert robot.called() == [GOOD]


NOT_WELL: list[tuple[dict[str, Any], str]] = [
    ({"healthy": False}, "says that the service is not well"),
    ({"ticks": 999}, "999 cycles; 1000 in time are wanted"),
    ({"ticks": True}, "Expected `int`"),
    ({"bundle": ""}, "self-test of the policy is not passed"),
    ({"self_test": {"verdict": "fail"}}, "self-test of the policy is not passed"),
    ({"self_test": {}}, "self-test of the policy is not passed"),
    ({"self_test": None}, "Expected `object`"),
]


@pytest.mark.parametrize(("facts", "message"), NOT_WELL, ids=[str(facts) for facts, _ in NOT_WELL])
def test_a_service_that_is_not_well_keeps_no_system(facts: dict[str, Any], message: str, robot: Robot) -> None:
    updated(robot).healthy(**facts)
    with pytest.raises(UpdateError, match=message):
        verdict.good(robot.root)
    assert robot.called() == []
    assert record.on_trial(robot.root) is not None


def test_a_service_that_said_nothing_keeps_no_system(robot: Robot) -> None:
    with pytest.raises(UpdateError, match="has not proved itself since the start"):
        verdict.good(updated(robot).root)


def test_neither_a_link_nor_a_pipe_nor_a_huge_file_is_its_word(robot: Robot, tmp_path: Path) -> None:
    updated(robot).healthy()
    word = robot.root / "run/edge-runtime/healthy.json"
    word.rename(tmp_path / "real")
    word.symlink_to(tmp_path / "real")
    with pytest.raises(UpdateError, match="symbolic link"):
        verdict.good(robot.root)
    word.unlink()
    os.mkfifo(word)
    with pytest.raises(UpdateError, match="no file that the service writes"):
        verdict.good(robot.root)
    word.unlink()
    word.write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(UpdateError, match="no file that the service writes"):
        verdict.good(robot.root)
    assert robot.called() == []


def test_a_system_that_failed_its_trial_is_left(robot: Robot) -> None:
    said = verdict.failed(updated(robot).root)
    assert said == "slot B: version 1.3 failed its trial; back to slot A"
    assert robot.called() == [BAD, REBOOT]
    ended = record.last(robot.root)
    assert ended is not None
    assert (ended.slot, ended.version, ended.good) == ("B", "1.3", False)
    robot.start("A", "boot-3")
    assert verdict.good_unless_on_trial(robot.root) == "slot A is good"
    assert verdict.failed(robot.root) == "slot A proved itself before: it stays, and the robot rests"
    assert robot.called() == [BAD, REBOOT, GOOD]


def test_a_system_is_not_left_for_one_that_is_not_good(robot: Robot) -> None:
    updated(robot).set("A", ok=0)
    assert "slot A is not good: it stays" in verdict.failed(robot.root)
    assert robot.called() == []
    assert record.on_trial(robot.root) is None, "or nothing could be installed any more"


def test_it_does_not_reboot_while_the_other_one_is_not_to_start(robot: Robot) -> None:
    """A bootloader that does not do as it is told would start the same system for ever."""
    updated(robot)
    rauc = robot.state.parent / "bin/rauc"
    rauc.write_text(rauc.read_text().replace("state.write_text(json.dumps(robot))", "pass"))
    robot.set("B", tried=0)
    with pytest.raises(UpdateError, match="slot A is not to start next: it stays"):
        verdict.failed(robot.root)
    assert robot.called() == [BAD]
    assert record.on_trial(robot.root) is not None


def test_it_does_not_reboot_where_rauc_fails(robot: Robot) -> None:
    updated(robot).change(fails=["status mark-bad booted"])
    with pytest.raises(EdgeError, match="rauc mark-bad: rauc: the bus does not answer"):
        verdict.failed(robot.root)
    assert REBOOT not in robot.called()


def test_a_well_service_is_not_left_when_its_time_is_up(robot: Robot) -> None:
    updated(robot).healthy()
    assert verdict.failed(robot.root, unless_healthy=True) == "the service is well: nothing to go back from"
    assert robot.called() == []


def test_one_that_is_not_well_when_its_time_is_up_is_left(robot: Robot) -> None:
    updated(robot).healthy(ticks=3)
    verdict.failed(robot.root, unless_healthy=True)
    assert robot.called() == [BAD, REBOOT]


def test_each_start_confirms_a_system_that_proved_itself_before(robot: Robot) -> None:
    """A robot whose camera is unplugged at power-on is no reason to start an older system."""
    assert verdict.good_unless_on_trial(robot.root) == "slot A is good"
    assert robot.called() == [GOOD]
    assert verdict.good_unless_on_trial(robot.root) == "slot A is good already"


def test_no_start_confirms_one_that_is_on_trial(robot: Robot) -> None:
    said = verdict.good_unless_on_trial(updated(robot).root)
    assert said == "slot B: version 1.3 is on trial until the service has proved itself"
    assert robot.called() == []


def test_an_update_that_the_bootloader_gave_up_is_over(robot: Robot) -> None:
    updated(robot).set("B", tried=3)
    robot.start("A", "boot-6")
    assert "version 1.3 in slot B did not start and is given up" in verdict.good_unless_on_trial(robot.root)
    assert robot.called() == [GOOD, OTHER_BAD]
    assert record.on_trial(robot.root) is None
    ended = record.last(robot.root)
    assert ended is not None
    assert not ended.good


def test_an_update_of_this_very_start_is_still_to_come(robot: Robot) -> None:
    record.begin(robot.root, "B", "1.3")
    verdict.good_unless_on_trial(robot.root)
    assert record.on_trial(robot.root) is not None
    assert OTHER_BAD not in robot.called()


def test_an_update_that_was_refused_costs_the_other_slot_nothing(robot: Robot) -> None:
    """RAUC refused it after the trial was on record, and wrote nothing."""
    record.begin(robot.root, "B", "1.3")
    robot.start("A", "boot-2")
    verdict.good_unless_on_trial(robot.root)
    assert record.on_trial(robot.root) is None
    assert OTHER_BAD not in robot.called()


@pytest.mark.parametrize("call", [verdict.good, verdict.good_unless_on_trial, verdict.failed])
def test_a_robot_with_one_system_has_nothing_to_mark(call: Any, robot: Robot) -> None:
    robot.healthy()
    (robot.root / "etc/rauc/system.conf").unlink()
    with pytest.raises(UpdateError, match="this machine has one system slot"):
        call(robot.root)
    assert robot.called() == []
