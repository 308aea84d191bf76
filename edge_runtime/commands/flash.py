"""The command that puts a package on a Jetson's disk, through NVIDIA's own tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_runtime.commands.output import emit, json_option, warn

if TYPE_CHECKING:
    from edge_runtime.deploy.flash.flash import Flash

_FILE = click.Path(path_type=Path)


@click.command()
@click.option("--l4t", metavar="DIR", type=_FILE, required=True, help="NVIDIA's Linux_for_Tegra, with rootfs in it.")
@click.option("--board", metavar="NAME", required=True, help="Such as jetson-orin-nano-devkit: a NAME.conf in DIR.")
@click.option(
    "--package",
    "packages",
    metavar="FILE",
    type=_FILE,
    multiple=True,
    required=True,
    help="What edge package made; again for what it needs besides.",
)
@click.option("--user", metavar="NAME", required=True, help="Who logs in there, and may command the robot.")
@click.option("--hostname", metavar="NAME", default="robot", show_default=True, help="The robot's own name.")
@click.option(
    "--storage", type=click.Choice(["nvme", "internal"]), default="nvme", show_default=True, help="Which disk."
)
@click.option("--ab", is_flag=True, help="Two system slots, for system updates that can go back.")
@click.option("--layout", metavar="FILE", type=_FILE, help="Partition layout in the place of NVIDIA's.")
@click.option("--accept-license", is_flag=True, help="Of NVIDIA's software; its tool shows it and asks otherwise.")
@click.option("--execute", is_flag=True, help="Run the commands, as root; otherwise they are only printed.")
@json_option
def flash(
    l4t: Path,
    board: str,
    packages: tuple[Path, ...],
    user: str,
    hostname: str,
    storage: str,
    ab: bool,
    layout: Path | None,
    accept_license: bool,
    execute: bool,
    json_file: str | None,
) -> None:
    """Lay a package into NVIDIA's root file system, and print or run what flashes it.

    The board installs the package by itself at its first boot, without a network, and boots again. Nothing of the
    board's is run here but by NVIDIA's own tools. The board must be in recovery mode, on a USB cable.
    """
    from edge_runtime.deploy.flash import flash as flashing

    order = flashing.Order(l4t, board, packages, user, hostname, storage, ab, layout, accept_license)
    if execute:
        flashing.need_root()
        flashing.need_terminal(order)
    made = flashing.prepare(order)
    facts = {"laid": [str(path) for path in made.laid], "commands": [str(command) for command in made.commands]}
    emit(facts, "" if execute else _words(made), json_file)
    if not execute:
        warn("nothing is flashed yet: run these, or the same with --execute")
        return
    asks = any(command.needs_password for command in made.commands)
    password = click.prompt(f"Password for {user}", hide_input=True, confirmation_prompt=True) if asks else ""
    flashing.execute(made, password)


def _words(made: Flash) -> str:
    import shlex

    asks = any(command.needs_password for command in made.commands)
    lines = [f"cd {shlex.quote(str(made.tree))}", *(['read -rsp "Password: " PASSWORD'] if asks else [])]
    return "\n".join([*lines, *map(str, made.commands)])


COMMANDS: tuple[click.Command, ...] = (flash,)
