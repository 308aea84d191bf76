"""Commands to a running robot through its control socket. They import next to nothing, so that `stop` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_runtime.commands.output import F, emit, json_option, robot_here


def _addressed(command: F) -> F:
    """Add --robot and --socket: two ways to say which robot is meant."""
    command = click.option("--socket", metavar="PATH", help="Control socket of the running robot.")(command)
    command = click.option(
        "--robot", metavar="FILE", default=robot_here, help="Its robot.toml (./robot.toml, or the installed one)."
    )(command)
    return json_option(command)


def _say(robot: str, socket: str | None, json_file: str | None, request: dict[str, Any]) -> None:
    from edge_runtime import config, control_socket

    path = Path(socket if socket is not None else config.load(robot).control.socket)
    answer = control_socket.send(path, request)
    said = {key: value for key, value in answer.items() if key != "ok"}
    emit(answer, "\n".join(line for key, value in said.items() for line in _lines(key, value)), json_file)


def _lines(key: str, value: object) -> list[str]:
    """One line, or for a table of tables (the joints) one a row."""
    if isinstance(value, dict) and any(isinstance(row, dict) for row in value.values()):
        return [key, *(f"  {name:18} {_flat(row)}" for name, row in value.items())]
    return [f"{key:20} {_flat(value)}"]


def _flat(value: object) -> str:
    """A value of the answer on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {_flat(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_flat, value))
    if value is None:
        return "–"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


@click.command()
@click.argument("instruction")
@_addressed
def task(instruction: str, robot: str, socket: str | None, json_file: str | None) -> None:
    """Give an instruction, or change the one that runs."""
    _say(robot, socket, json_file, {"cmd": "task", "instruction": instruction})


def _word(name: str, about: str) -> click.Command:
    """A command of one word without arguments."""

    @click.command(name, help=about)
    @_addressed
    def command(robot: str, socket: str | None, json_file: str | None) -> None:
        _say(robot, socket, json_file, {"cmd": name})

    return command


COMMANDS: tuple[click.Command, ...] = (
    task,
    _word("stop", "Stop moving and hold."),
    _word("resume", "Go on after a stop."),
    _word("arm", "Switch torque on and go to the start pose."),
    _word("disarm", "Switch torque off on every motor, where the arm is at rest."),
    _word("reset", "Go on after a fault or an e-stop."),
    _word("done", "End the task as a success."),
    _word("takeover", "Let a person drive, with leader arm or gamepad."),
    _word("handback", "End the takeover: go on with the task, if there is one."),
    _word("estop", "Stop, and stay stopped until reset. The supply switch is the emergency stop."),
    _word("status", "Say what the robot is doing."),
)
