"""What commands share: --json FILE, and the robot.toml that is meant where none is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

ROBOT = "robot.toml"


def json_option(command: F) -> F:
    """Add --json FILE: what the command prints for people, for programs."""
    option = click.option(
        "--json",
        "json_file",
        metavar="[FILE]",
        is_flag=False,
        flag_value="-",
        help="Write the result as JSON to FILE, or to standard output.",
    )
    return option(command)


def robot_argument(command: F) -> F:
    """Add ROBOT: the robot.toml, by default the one in the present folder."""
    return click.argument("robot", metavar="[ROBOT.TOML]", default=ROBOT)(command)


def emit(result: dict[str, Any], words: str, json_file: str | None) -> None:
    """Print `words`, and with --json FILE write `result` too; where FILE is "-", print `result` in their place."""
    import json

    if json_file == "-":
        click.echo(json.dumps(result, indent=2, ensure_ascii=False, default=str))
        return
    if words:
        click.echo(words.rstrip("\n"))
    if json_file is not None:
        from edge_runtime.files import write_whole

        write_whole(Path(json_file), json.dumps(result, indent=2, ensure_ascii=False, default=str) + "\n")
