"""The commands that make the one package that a robot is installed from, and fetch what it carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_runtime.commands.output import ROBOT, emit, interruptible, json_option, warn

WHEELS = Path("runs/wheels")
"""Where a target's wheelhouse is, in a folder of its name."""
WHEELS_HELP = f"Wheelhouse; by default {WHEELS}/TARGET."

target_option = click.option("--target", metavar="TARGET", required=True, help="Board and system: jetpack6-orin, …")
kinematics_option = click.option(
    "--kinematics", is_flag=True, help="With the libraries for policies that act in end-effector space."
)


class _Context(click.Context):
    @property
    def command_path(self) -> str:
        """That of the group: the command has no name of its own."""
        return super().command_path.rstrip()


class _Nameless(click.Command):
    context_class = _Context


class _Package(click.Group):
    """`edge package ROBOT.TOML` makes a package; `edge package wheels` is the one command beside that."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args[:1] == [wheels.name] else ["", *args])


@click.group(cls=_Package, add_help_option=False)
def package() -> None:
    """Make the one package that a robot is installed from, offline; or fetch its wheels."""


@package.command("", cls=_Nameless)
@click.argument("robot", metavar="ROBOT.TOML", type=click.Path(path_type=Path), default=ROBOT)
@click.argument("bundle", metavar="[BUNDLE]", type=click.Path(path_type=Path), required=False)
@target_option
@click.option(
    "--wheels", "wheelhouse", metavar="DIR", type=click.Path(path_type=Path), help="Default runs/wheels/TARGET."
)
@click.option(
    "--trust", metavar="CERT.pem", type=click.Path(path_type=Path), help="Whose bundles and updates it takes."
)
@click.option("--updates", is_flag=True, help="For a disk with two system slots: system updates that can go back.")
@kinematics_option
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Name of the package.")
@json_option
def robot_package(
    robot: Path,
    bundle: Path | None,
    target: str,
    wheelhouse: Path | None,
    trust: Path | None,
    updates: bool,
    kinematics: bool,
    output: Path | None,
    json_file: str | None,
) -> None:
    """Make one Debian package of the runtime, ROBOT.TOML and, where it is given, BUNDLE.

    Offline: the wheels were fetched by `edge package wheels --target TARGET`. robot.toml comes with its calibration
    folder and its URDF, and with a robot's paths; the same files give the same package, byte for byte.
    """
    from edge_runtime import plugins
    from edge_runtime.deploy.systems import system

    making, chosen = plugins.require("edge_runtime.deploy.package.package"), system(target)
    order = making.Order(chosen, robot, bundle, wheelhouse or WHEELS / target, trust, updates, kinematics)
    with interruptible():
        made = making.make(order, output)
    for note in made.notes:
        warn(note)
    size = made.file.stat().st_size
    words = (
        f"{made.file}: {chosen.title}, {size / 1e6:.0f} MB, {made.installed_bytes / 1e6:.0f} MB installed\n"
        f"on the robot: sudo apt-get install --allow-downgrades ./{made.file.name}"
    )
    found: dict[str, Any] = {"file": str(made.file), "version": made.version, "bytes": size, "notes": list(made.notes)}
    emit({**found, "target": target, "installed_bytes": made.installed_bytes}, words, json_file)


@package.command()
@target_option
@kinematics_option
@click.option("-o", "--output", metavar="DIR", type=click.Path(path_type=Path), help=WHEELS_HELP)
def wheels(target: str, kinematics: bool, output: Path | None) -> None:
    """Fetch the wheels that a package for TARGET carries, each to the byte that was tested.

    With pip, from wherever pip is set up to fetch.
    """
    from edge_runtime.deploy.package import wheels as locked
    from edge_runtime.deploy.systems import system

    chosen, folder = system(target), output or WHEELS / target
    with interruptible():
        click.echo(f"fetching into {folder} ...", err=True)
        locked.fetch(chosen, folder, kinematics=kinematics)
    there = locked.wheelhouse(chosen, folder, kinematics=kinematics)
    click.echo(f"{folder}: {len(there)} wheels for {target}, {sum(w.stat().st_size for w in there) / 1e6:.0f} MB")


COMMANDS: tuple[click.Command, ...] = (package,)
