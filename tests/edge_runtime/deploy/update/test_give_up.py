"""The last resort, where a new system's runtime does not start at all: a script that asks nothing of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime.deploy.places import under
from edge_runtime.deploy.update import layout, record
from edge_runtime.deploy.update.system_files import text
from tests.edge_runtime.deploy.update import programs
from tests.edge_runtime.deploy.update.programs import Robot
from tests.imports import ROOT

LEFT = ["rauc status mark-bad booted", "systemctl reboot"]
LACKING = """\
#!{python} -I
import sys
sys.path.insert(0, {source!r})
sys.modules["msgspec"] = None
from edge_runtime.cli import main
sys.exit(main())
"""


@pytest.fixture
def robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Robot:
    """Slot B is on trial, and its `edge` does not start."""
    made = programs.robot(tmp_path, monkeypatch)
    monkeypatch.setenv("EDGE", str(tmp_path / "edge"))
    monkeypatch.setenv("TRIAL", str(under(made.root, layout.TRIAL)))
    made.set("A", tried=0)
    record.begin(made.root, "B", "1.3")
    made.start("B", "boot-2")
    return made


def give_up(robot: Robot) -> list[str]:
    """What was called."""
    programs.program(robot.state.parent / "give-up", text("give-up.sh"))
    done = subprocess.run([robot.state.parent / "give-up"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return robot.called()


def test_a_system_without_a_runtime_is_left(robot: Robot) -> None:
    assert give_up(robot) == LEFT


@pytest.mark.parametrize("answer", [0, 2])
def test_a_runtime_that_can_be_asked_has_its_reasons_to_stay(answer: int, robot: Robot, tmp_path: Path) -> None:
    programs.program(tmp_path / "edge", f'#!/bin/sh\n[ "$*" = "update failed --unless-healthy" ] && exit {answer}\n')
    assert give_up(robot) == []


def test_one_without_a_library_that_the_answer_needs_counts_as_none(robot: Robot, tmp_path: Path) -> None:
    """`edge --version` answers all the same."""
    programs.program(tmp_path / "edge", LACKING.format(python=sys.executable, source=str(ROOT)))
    assert subprocess.run([tmp_path / "edge", "--version"], capture_output=True, check=False).returncode == 0
    assert give_up(robot) == LEFT


def test_a_system_that_proved_itself_stays(robot: Robot) -> None:
    under(robot.root, layout.TRIAL).unlink()
    assert give_up(robot) == []


def test_a_trial_of_the_other_slot_is_no_reason(robot: Robot) -> None:
    robot.change(booted="A")
    assert give_up(robot) == []


def test_nothing_is_left_for_a_slot_that_is_not_good(robot: Robot) -> None:
    robot.set("A", ok=0)
    assert give_up(robot) == []
