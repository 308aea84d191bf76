"""What commands share: --json FILE, the robot.toml that is meant where none is named, a bar, an end on request."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge_runtime.deploy import places

if TYPE_CHECKING:
    from rich.progress import Progress

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


def robot_here() -> str:
    """The robot.toml that is meant where none is named: that of the present folder, or the one that was installed."""
    installed = not Path(ROBOT).exists() and places.ROBOT.parent.is_dir()  # only members of a group see into it
    return str(places.ROBOT) if installed else ROBOT


def absent(path: Path) -> bool:
    """Whether a file is not there. What may not be looked at is left to whoever reads it, who says why."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except PermissionError:
        pass
    return False


def robot_argument(command: F) -> F:
    """Add ROBOT: the robot.toml, by default `robot_here`."""
    return click.argument("robot", metavar="[ROBOT.TOML]", default=robot_here)(command)


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


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP end the work as Ctrl-C does, so that nothing half-written stays.

    A signal that is handled or ignored already (nohup) is left as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    for number in asked:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in asked:
            signal.signal(number, signal.SIG_DFL)


def warn(message: str) -> None:
    """One line on standard error that stops nothing."""
    click.echo(f"edge: {message}", err=True)


def log_events() -> None:
    """Every event is a line on standard error. The journal has its own times, so that lines for it have none."""
    import logging

    here = os.fstat(2)  # systemd.exec(5), JOURNAL_STREAM: device and inode of what it has set up
    journal = os.environ.get("JOURNAL_STREAM") == f"{here.st_dev}:{here.st_ino}"
    logging.basicConfig(level=logging.INFO, format="%(message)s" if journal else "%(asctime)s %(message)s")


@contextmanager
def bars() -> Iterator[Progress | None]:
    """Progress bars on standard error while the block runs; None, and nothing is written, where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<14}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with interruptible():
        if not console.is_terminal:
            yield None
            return
        with Progress(*columns, console=console, transient=True) as shown:
            yield shown


@contextmanager
def progress(first: str) -> Iterator[Callable[[str, float], None]]:
    """One bar while the block runs. Yields what moves it.

    It is called with what is being done and which part of the whole is done, 0 to 1.
    """
    with bars() as shown:
        if shown is None:
            yield lambda _what, _part: None
            return
        task = shown.add_task(first, total=1.0)
        yield lambda what, part: shown.update(task, description=what, completed=part)
