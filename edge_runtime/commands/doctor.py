"""`edge doctor`: one screen that says whether this machine and the robot on it are fit to run, and what to do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_runtime.commands.output import absent, emit, json_option, progress, robot_here

if TYPE_CHECKING:
    from edge_runtime.doctor.check import Level


@click.command()
@click.argument("robot", metavar="[ROBOT.TOML]", required=False, type=click.Path(path_type=Path))
@json_option
def doctor(robot: Path | None, json_file: str | None) -> int:
    """Examine this machine and the robot on it.

    Kernel, power, disk; with a robot.toml also its policy, ports, motors and cameras, which are opened unless the robot
    runs. Torque is never touched. The exit code is 2 where something is bad. An installed robot is judged as its
    service, which takes root.
    """
    from edge_runtime.doctor import text
    from edge_runtime.doctor.check import count
    from edge_runtime.doctor.examine import examine
    from edge_runtime.doctor.host import Host

    file = robot or (None if absent(here := Path(robot_here())) else here)
    with progress("machine") as moved:
        groups = examine(file, Host(), _folder(), moved)
    rows = text.rows(groups)
    if json_file != "-":
        _show(rows, text.STYLES)
    if json_file is not None:
        emit(text.summary(groups), "", json_file)
    return 2 if count(groups, "bad") else 0


def _folder() -> Path:
    """The present folder; where that was removed, the name that it had."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path(os.environ.get("PWD", "."))


def _show(rows: Sequence[tuple[str, Level | None]], styles: Mapping[Level, str]) -> None:
    """Coloured where somebody looks; plain lines, whole ones, where a file or a program reads."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for line, level in rows:
        if console.is_terminal:
            console.print(Text(line, style=styles[level] if level else ""))
        else:
            click.echo(line)


COMMANDS: tuple[click.Command, ...] = (doctor,)
