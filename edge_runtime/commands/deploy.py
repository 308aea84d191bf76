"""The command that hands a bundle to a robot, and says what the robot made of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_runtime.commands.output import absent, emit, interruptible, json_option, progress
from edge_runtime.deploy import places

if TYPE_CHECKING:
    from edge_runtime.deploy.models.messages import Outcome

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("words", metavar="BUNDLE [ROBOT]", nargs=-1)
@click.option("--key", metavar="KEY.pem", type=_FILE, default="key.pem", show_default=True, help="Signs the bundle.")
@click.option("--cert", metavar="CERT.pem", type=_FILE, help="The key's certificate; by default cert.pem beside it.")
@click.option("--back", is_flag=True, help="Return to the previous bundle instead: edge deploy --back [ROBOT].")
@click.option("--list", "list_", is_flag=True, help="Say which bundles are there: edge deploy --list [ROBOT].")
@click.option("--receive", is_flag=True, hidden=True, help="The robot's end of a deployment.")
@click.option("--config", type=_FILE, default=places.ROBOT, hidden=True, help="The robot's robot.toml.")
@click.option("--trust", type=_FILE, default=places.TRUST, hidden=True, help="The certificate that it trusts.")
@json_option
def deploy(
    words: tuple[str, ...],
    key: Path,
    cert: Path | None,
    back: bool,
    list_: bool,
    receive: bool,
    config: Path,
    trust: Path,
    json_file: str | None,
) -> int:
    """Sign a bundle and put it on a robot, as the one that runs from its next pause on.

    ROBOT is what ssh calls it (user@host); without it, this machine is the robot. The bundle is copied, checked,
    compiled and held to its gate beside the one that runs, which goes on until no task does. The one before comes back
    by itself where the new one does not prove itself; exit code 1 says that it did, or that it is not known yet.
    """
    if sum((back, list_, receive)) > 1:
        raise click.UsageError("--back and --list: one at a time")
    if receive:
        return _receive(config, trust)
    if back or list_:
        return _remember(words, "--back" if back else "--list", config, json_file)
    if not 1 <= len(words) <= 2:
        raise click.UsageError("say which bundle, and which robot: edge deploy BUNDLE USER@ROBOT --key KEY.pem")
    bundle, host = Path(words[0]), "".join(words[1:])
    _refuse_no_bundle(bundle, host)
    if not host:
        _refuse_no_robot(config)
    return _send(bundle, host, key, cert or key.with_name("cert.pem"), json_file)


def _refuse_no_bundle(bundle: Path, host: str) -> None:
    """Raises `BundleError` where another thing is named in the bundle's place."""
    from edge_runtime.errors import BundleError

    if bundle.suffix == ".raucb":
        raise BundleError(f"{bundle}: is a system update: edge update install {bundle.name}, on the robot")
    if not bundle.exists() and ("@" in str(bundle) or (host and Path(host).is_dir())):
        raise BundleError(f"{bundle}: is no bundle here: the bundle comes first, then the robot: BUNDLE USER@HOST")


def _refuse_no_robot(config: Path) -> None:
    """Raises `CommandError` where no robot is named and this machine is none."""
    from edge_runtime.errors import CommandError

    if absent(config):
        raise CommandError(f"this computer is no robot (no {config}): name one, edge deploy BUNDLE USER@HOST")


def _send(bundle: Path, host: str, key: Path, cert: Path, json_file: str | None) -> int:
    import msgspec

    from edge_runtime.deploy.models import send
    from edge_runtime.deploy.models.reach import Reach

    reach = Reach(host)
    with progress("check") as tell:
        outcome = send.deploy(bundle, reach, key, cert, tell)
    emit({"robot": reach.title, **msgspec.to_builtins(outcome)}, _said(outcome, reach.title), json_file)
    return 0 if outcome.state == "kept" else 1


def _said(outcome: Outcome, robot: str) -> str:
    words = {
        "kept": "it runs, and has proved itself",
        "failed": f"the one before is back: {outcome.why}",
        "open": f"on trial: {outcome.why}",
    }
    return f"{robot}: bundle {outcome.bundle}: {words[outcome.state]}"


def _receive(config: Path, trust: Path) -> int:
    import sys

    from edge_runtime.deploy.models.line import Line
    from edge_runtime.deploy.models.receive import receive

    with interruptible():
        receive(config, trust, Line(sys.stdin.fileno(), sys.stdout.buffer))
    return 0


def _remember(words: tuple[str, ...], what: str, config: Path, json_file: str | None) -> int:
    """--list and --back: there, where that is another machine, and otherwise here."""
    from edge_runtime.deploy.models import shelf
    from edge_runtime.deploy.models.reach import Reach

    if len(words) > 1:
        raise click.UsageError(f"{what}: takes the robot and nothing else: edge deploy {what} USER@ROBOT")
    reach = Reach(words[0] if words else "")
    facts = shelf.there(reach, what) if reach.host else _here(config, back=what == "--back")
    emit(facts, shelf.text(facts, reach.title), json_file)
    return 0


def _here(file: Path, *, back: bool) -> dict[str, Any]:
    import os

    from edge_runtime import config
    from edge_runtime.deploy.models import shelf
    from edge_runtime.deploy.models.store import UMASK, store_of

    _refuse_no_robot(file)
    store = store_of(config.load(file, calibrated=False))
    if back:
        os.umask(UMASK)
        store.back()
    return shelf.facts(store)


COMMANDS: tuple[click.Command, ...] = (deploy,)
