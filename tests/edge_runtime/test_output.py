"""What commands share: a request to end is an interruption, and the way out is taken."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime import cli
from edge_runtime.commands import output
from edge_runtime.commands.output import log_events, progress, robot_here

NUMBERS = [signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_request_to_end_is_an_interruption(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), progress("first"):
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", NUMBERS)
def test_what_is_ignored_stays_ignored(number: signal.Signals) -> None:
    """As under nohup."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with progress("first"):
            os.kill(os.getpid(), number)
            assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_a_command_that_is_ended_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
import click
from edge_runtime import cli
from edge_runtime import cli
from edge_runtime.commands import output
from edge_runtime.commands.output import log_events, progress, robot_here
from export.staging import staged

@cli.edge.command()
def work():
    with progress("first"), staged(Path({str(tmp_path / "b")!r}), "mark"):
        os.kill(os.getpid(), signal.SIGTERM)
        click.echo("it went on")

sys.exit(cli.main(["work"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.strip() == "edge: interrupted"
    assert list(tmp_path.iterdir()) == []


def test_the_robot_that_is_meant_is_the_one_here_and_else_the_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    installed = tmp_path / "etc/robot.toml"
    monkeypatch.setattr(output.places, "ROBOT", installed)
    assert robot_here() == "robot.toml"
    installed.parent.mkdir()  # whoever may not look into it is told so, and no other robot is meant
    assert robot_here() == str(installed)
    (tmp_path / "robot.toml").touch()
    assert robot_here() == "robot.toml"


@pytest.mark.parametrize("command", ["status", "safe-stop"])
def test_commands_find_the_installed_one(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    installed = tmp_path / "etc/robot.toml"
    monkeypatch.setattr(output.places, "ROBOT", installed)
    installed.parent.mkdir()
    installed.write_text("name = 3")
    assert cli.main([command]) == 2
    assert capsys.readouterr().err.startswith(f"edge: {installed}: ")


@pytest.mark.parametrize("journal", [True, False])
def test_lines_for_the_journal_have_no_times_of_their_own(journal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    here = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{here.st_dev}:{here.st_ino + (not journal)}")
    monkeypatch.setattr(logging, "basicConfig", lambda **asked: told.append(asked["format"]))
    log_events()
    assert told == ["%(message)s" if journal else "%(asctime)s %(message)s"]
