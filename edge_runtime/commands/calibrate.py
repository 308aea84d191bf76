"""`edge calibrate`: what is measured once for this robot. Each command writes one file and says what it found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import click

from edge_runtime.commands.output import emit, interruptible, json_option, robot_argument, warn
from edge_runtime.errors import EdgeError

if TYPE_CHECKING:
    from edge_runtime.calibration_files import Board, Calibration
    from edge_runtime.commands.guide import Terminal
    from edge_runtime.config import Robot

yes_option = click.option("--yes", is_flag=True, help="Agree beforehand to what it asks.")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


@click.group()
def calibrate() -> None:
    """Measure what is measured once for this robot: joints, cameras, delays."""


@calibrate.command()
@robot_argument
@click.option("--bus", "bus_name", metavar="NAME", help="Which bus, where there are several.")
@click.option(
    "--pose",
    type=click.Choice(["zero", "start", "park"]),
    default="zero",
    show_default=True,
    help="Reference pose: every joint at zero or its limit that is nearest, or a pose of robot.toml.",
)
@click.option("--restart", is_flag=True, help="Forget what an earlier try has found.")
@yes_option
@json_option
def joints(
    robot: str,
    bus_name: str | None,
    pose: Literal["zero", "start", "park"],
    restart: bool,
    yes: bool,
    json_file: str | None,
) -> None:
    """Zero, direction and range of every joint of a bus.

    You move the limp arm by hand. What was found is kept after each step: started again, it goes on there.
    """
    from edge_runtime import calibrate as work
    from edge_runtime import calibrate_text, calibrated, calibration_files, config

    settings = config.load(robot, calibrated=False)
    bus = _one(settings.buses, bus_name, "bus")
    path = calibration_files.bus_file(_folder(settings, robot), bus.name)
    with interruptible():
        found = work.joints(bus, pose, path, _person(yes), restart=restart)
    _emit(path, found, calibrate_text.joints(bus, found), json_file)
    for joint, motor in zip(bus.joints, found.motors, strict=True):
        for fault in calibrated.range_faults(joint, motor):
            warn(fault)


@calibrate.command()
@robot_argument
@click.argument("name", metavar="CAMERA")
@click.option("--squares", metavar="COLUMNSxROWS", default="8x6", show_default=True, help="Of the board.")
@click.option("--square-mm", type=click.FloatRange(1, 1000), default=30.0, show_default=True, help="Measured on paper.")
@click.option("--views", type=click.IntRange(8, 500), default=25, show_default=True, help="Views or poses to take.")
@click.option(
    "--mount",
    type=click.Choice(["tip", "base"]),
    help="Find where the camera is fixed: to the arm's tip, or to its base. Its lens must be known.",
)
@json_option
def camera(
    robot: str,
    name: str,
    squares: str,
    square_mm: float,
    views: int,
    mount: Literal["tip", "base"] | None,
    json_file: str | None,
) -> None:
    """Lens of a camera, or with --mount where it is fixed.

    You show it the board of edge calibrate board; views are taken by themselves whenever it is held still. With --mount
    tip the board lies still and you move the arm that carries the camera; with --mount base the arm carries the board.
    """
    from edge_runtime import calibrate as work
    from edge_runtime import calibrate_text, calibration_files, config

    settings = config.load(robot, calibrated=mount is not None)
    wanted, board = _one(settings.cameras, name, "camera"), _board(squares, square_mm)
    path = calibration_files.camera_file(_folder(settings, robot), name)
    with interruptible():
        if mount is None:
            found = work.lens(wanted, board, views, path, _person())
        else:
            found = work.mount(settings, wanted, mount, views, path, _person())
    _emit(path, found, calibrate_text.camera(found), json_file)


@calibrate.command()
@robot_argument
@click.option("--camera", "camera_name", metavar="NAME", help="Which camera, where there are several.")
@click.option("--joint", "joint_name", metavar="NAME", help="Which joint swings; by default the first.")
@yes_option
@json_option
def latency(robot: str, camera_name: str | None, joint_name: str | None, yes: bool, json_file: str | None) -> None:
    """How late a camera's stamps are, and how late motors follow.

    The arm moves: one joint swings to and fro for some seconds in the camera's sight.
    """
    from edge_runtime import calibrate as work
    from edge_runtime import calibrate_text, calibration_files, config

    settings = config.load(robot)
    names = settings.joint_names
    joint = _place(names, names[0] if joint_name is None else joint_name, "joint")
    camera = _one(settings.cameras, camera_name, "camera")
    path = calibration_files.latency_file(_folder(settings, robot), camera.name)
    with interruptible():
        found = work.delays(settings, joint, camera, path, _person(yes))
    _emit(path, found, calibrate_text.latency(found), json_file)


@calibrate.command()
@click.option("-o", "--out", metavar="FILE", type=click.Path(path_type=Path), required=True, help=".pdf or .png")
@click.option("--squares", metavar="COLUMNSxROWS", default="8x6", show_default=True, help="Of the board.")
@click.option("--square-mm", type=click.FloatRange(1, 1000), default=30.0, show_default=True, help="Edge of a square.")
def board(out: Path, squares: str, square_mm: float) -> None:
    """The board to print, for edge calibrate camera."""
    from edge_runtime import plugins
    from edge_runtime.files import write_whole

    wanted = _board(squares, square_mm)
    write_whole(out, plugins.require("calibration.board").print_out(wanted, out.suffix))
    click.echo(
        f"{out}: {wanted.columns}x{wanted.rows} squares of {square_mm:g} mm: print it at 100 %, glue it onto something "
        f"flat, and measure a square"
    )


def _folder(settings: Robot, file: str) -> Path:
    if not settings.calibration:
        raise EdgeError(f'{file}: names no folder for what is measured: add calibration = "calibration" at its top')
    folder = Path(settings.calibration)
    try:  # what could not be kept is said before anything is measured
        with TemporaryDirectory(dir=next(place for place in (folder, *folder.parents) if place.is_dir())):
            return folder
    except OSError as error:
        raise EdgeError(f"{folder}: what is measured could not be kept there: {error.strerror}") from error


def _one(known: tuple[N, ...], name: str | None, what: str) -> N:
    """The one that is meant. Raises `EdgeError` where there is none, or several and none is named."""
    names = [one.name for one in known]
    if name is None and len(known) == 1:
        return known[0]
    if name is None:
        raise EdgeError(f"robot.toml has several of them: say --{what} {' or '.join(names)}")
    return known[_place(names, name, what)]


def _place(names: Sequence[str], name: str, what: str) -> int:
    from edge_runtime.suggest import did_you_mean

    if name not in names:
        raise EdgeError(f'robot.toml has no {what} "{name}"{did_you_mean(name, names)}')
    return names.index(name)


def _person(agreed: bool = False) -> Terminal:
    from edge_runtime.commands.guide import Terminal

    return Terminal(agreed=agreed)


def _emit(path: Path, found: Calibration, words: str, json_file: str | None) -> None:
    import msgspec

    emit(msgspec.to_builtins(found), f"{words}\n{path}: written", json_file)


def _board(squares: str, square_mm: float) -> Board:
    from edge_runtime.calibration_files import Board

    columns, _, rows = squares.partition("x")
    if not (columns.isdecimal() and rows.isdecimal() and 3 <= int(columns) <= 20 and 3 <= int(rows) <= 20):
        raise click.BadParameter(f'"{squares}" is not two numbers from 3 to 20, such as 8x6', param_hint="--squares")
    return Board(columns=int(columns), rows=int(rows), square_mm=square_mm)


COMMANDS: tuple[click.Command, ...] = (calibrate,)
