"""Commands that update a robot's system: made and signed on a workstation, installed and judged on the robot."""

from __future__ import annotations

from pathlib import Path

import click

from edge_runtime.commands.output import emit, json_option, progress

_FILE = click.Path(path_type=Path)


@click.group()
def update() -> None:
    """Make, sign and install updates of a robot's whole system, in two slots."""


@update.command()
@click.argument("folder", default=".", type=_FILE)
@json_option
def keygen(folder: Path, json_file: str | None) -> None:
    """Make the key that signs what robots take, and its certificate, in FOLDER.

    key.pem stays with you; cert.pem goes to robots (edge package --trust). Nothing is overwritten.
    """
    from edge_runtime.deploy.update import keygen as keys

    key, certificate = keys.keygen(folder)
    fingerprint = keys.fingerprint(certificate)
    words = f"{key}: keep it safe and to yourself: robots take what it signs\n{certificate}: sha256 {fingerprint}"
    emit({"key": str(key), "certificate": str(certificate), "sha256": fingerprint}, words, json_file)


@update.command()
@click.option("--target", required=True, metavar="SYSTEM", help="The robot's system: debian12-amd64, jetpack6-orin, …")
@click.option("--rootfs", required=True, type=_FILE, help="Folder, .tar[.gz|.xz|.zst] or ext4 image of the system.")
@click.option("--version", required=True, help="One to four numbers: 1.2.3. A robot never goes back.")
@click.option("--key", type=_FILE, default="key.pem", show_default=True, help="The key that robots trust.")
@click.option("--cert", type=_FILE, help="Its certificate; by default cert.pem beside it.")
@click.option("-o", "--output", required=True, metavar="FILE.raucb", type=_FILE, help="The bundle to write.")
@json_option
def build(
    target: str, rootfs: Path, version: str, key: Path, cert: Path | None, output: Path, json_file: str | None
) -> None:
    """Make a signed RAUC bundle of a root file system."""
    from edge_runtime.deploy import systems
    from edge_runtime.deploy.update import build as making

    made = making.build(systems.system(target), rootfs, version, key, cert or key.with_name("cert.pem"), output)
    emit(made, making.text(made), json_file)


@update.command()
@click.argument("file", type=_FILE)
@json_option
def install(file: Path, json_file: str | None) -> None:
    """Write an update to the slot that does not run (on the robot, as root)."""
    from edge_runtime.deploy.update import install as installing

    with progress("installing") as told:
        done = installing.install(file, told)
    emit(done, installing.text(done), json_file)


@update.command()
@json_option
def status(json_file: str | None) -> None:
    """Say which slot runs, what is in each, and what is on trial."""
    from edge_runtime.deploy.update import status as reading

    found = reading.facts()
    emit(found, reading.text(found), json_file)


@update.command()
@click.option("--unless-trial", is_flag=True, help="Confirm a slot that proved itself before, as at each start.")
def good(unless_trial: bool) -> None:
    """Keep the slot that runs, if the service has proved itself (systemd calls this)."""
    from edge_runtime.deploy.update import verdict

    click.echo(verdict.good_unless_on_trial() if unless_trial else verdict.good())


@update.command()
@click.option("--unless-healthy", is_flag=True, help="Do nothing where the service has proved itself.")
def failed(unless_healthy: bool) -> None:
    """Go back to the other slot, if the one that runs is on trial (systemd calls this)."""
    from edge_runtime.deploy.update import verdict

    click.echo(verdict.failed(unless_healthy=unless_healthy))


COMMANDS: tuple[click.Command, ...] = (update,)
