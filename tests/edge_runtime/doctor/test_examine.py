"""The whole examination, what it prints, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drivers.errors import DriverError
from edge_runtime.cli import main
from edge_runtime.doctor import cameras, disk, examine, motors, text
from edge_runtime.doctor.check import Check, Group
from tests.edge_runtime.doctor.machine import Machine
from tests.edge_runtime.sim_arm import robot as sim_arm


def test_without_a_robot_only_the_machine_is_looked_at(tmp_path: Path) -> None:
    groups = examine.examine(None, Machine(tmp_path, {}), tmp_path)
    assert [group.name for group in groups] == ["robot", "kernel", "power", "disk"]
    assert {check.level for check in (*groups[0].checks, *groups[2].checks)} == {"unknown"}  # an empty machine


def test_a_group_that_breaks_off_keeps_none_of_the_others_from_being_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> list[Check]:
        raise DriverError("bus arm: fell over: pick it up")

    monkeypatch.setattr(motors, "check", broken)
    monkeypatch.setattr(cameras, "check", lambda robot: [Check("camera base", "ok", "fine")])
    sim_arm(tmp_path)
    told: list[str] = []
    groups = examine.examine(
        tmp_path / "robot.toml", Machine(tmp_path, {}), tmp_path, lambda what, part: told.append(what)
    )
    assert [group.name for group in groups] == told
    assert told[-2:] == ["motors", "cameras"]
    assert groups[-2].checks == (Check("motors", "bad", "bus arm: fell over: pick it up"),)
    assert groups[-1].checks == (Check("camera base", "ok", "fine"),)


def test_a_check_that_itself_is_broken_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> list[Check]:
        raise ValueError("not a\nnumber")

    monkeypatch.setattr(disk, "check", broken)
    *_, last = examine.examine(None, Machine(tmp_path, {}), tmp_path)
    (found,) = last.checks
    assert (found.level, found.found) == ("unknown", "this examination broke off: ValueError: not a number")


def test_e_stops_are_looked_at_after_the_cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motors, "check", lambda robot, bus: [])
    monkeypatch.setattr(cameras, "check", lambda robot: [])
    sim_arm(tmp_path)
    with (tmp_path / "robot.toml").open("a") as file:
        file.write('[[estops]]\nname = "desk"\nkind = "button"\ndevice = "./none"\ninput = "KEY_SPACE"\n')
    *_, last = examine.examine(tmp_path / "robot.toml", Machine(tmp_path, {}), tmp_path)
    assert (last.name, [check.level for check in last.checks]) == ("hand", ["bad"])


GROUPS = [
    Group("kernel", (Check("clock", "ok", "tsc"), Check("preemption", "warn", "none", "install one"))),
    Group("disk", (Check("disk", "bad", "full", "make room"), Check("heat", "unknown", "no zone"))),
]


def test_the_screen() -> None:
    assert [line for line, _ in text.rows(GROUPS)] == [
        "kernel",
        "  ok      clock       tsc",
        "  warn    preemption  none",
        "                      → install one",
        "disk",
        "  bad     disk        full",
        "                      → make room",
        "  unknown heat        no zone",
        "",
        "1 bad, 1 warn, 1 unknown, 1 ok",
    ]
    assert [level for _, level in text.rows(GROUPS) if level] == ["ok", "warn", "bad", "unknown"]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(examine, "examine", lambda *_: GROUPS)
    assert main(["doctor"]) == 2
    assert capsys.readouterr().out == "".join(f"{line}\n" for line, _ in text.rows(GROUPS))
    assert main(["doctor", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["bad"], found["ok"], len(found["checks"])) == (1, 1, 4)
    assert found["checks"][1] == {
        "group": "kernel",
        "name": "preemption",
        "level": "warn",
        "found": "none",
        "remedy": "install one",
    }
    monkeypatch.setattr(examine, "examine", lambda *_: GROUPS[:1])
    assert main(["doctor", "--json", "found.json"]) == 0
    assert json.loads((tmp_path / "found.json").read_text())["bad"] == 0


def test_a_robot_toml_that_is_wrong_is_bad_and_the_machine_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "robot.toml").write_text("name = 3\n")
    assert main(["doctor"]) == 2  # the one in the present folder is meant
    out = capsys.readouterr().out
    assert "bad     robot.toml" in out
    assert "preemption" in out
