"""Commands that run a robot: a real one, recorded footage in its place, or the simulated one."""

from __future__ import annotations

from pathlib import Path

import click

from edge_runtime.commands.output import ROBOT, emit, json_option, log_events, robot_argument, warn

SIM = "runs/sim"
SIM_FILES = (ROBOT, "arm.urdf")


@click.command()
@robot_argument
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Stop by itself after so long.")
@click.option(
    "--report", metavar="DIR", type=click.Path(path_type=Path), help="Write report.json and report.html there."
)
@click.option(
    "--record",
    "record_to",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Record there what the policy sees and answers, an episode a task.",
)
@json_option
def run(robot: str, seconds: float | None, report: Path | None, record_to: Path | None, json_file: str | None) -> None:
    """Run a robot until Ctrl-C; it starts disarmed. Every event is a line on standard error."""
    from edge_runtime import config_parts

    log_events()
    settings, notes = config_parts.load(robot)
    for note in notes:
        warn(note)
    from edge_runtime import app, report_files, report_text
    from edge_runtime.files import room
    from edge_runtime.record import RunRecord
    from edge_runtime.report import summary

    def conclude(record: RunRecord) -> None:
        if report is None:
            found = summary(record)
        else:
            written = report_files.write(record, report)
            found = written.report
            click.echo(f"{written.json_file}\n{written.html_file}", err=True)
        emit(found, report_text.text(found), json_file)

    with room(report):  # what cannot be written there is said before the run, not after it
        conclude(app.run_robot(settings, seconds=seconds, rescue=conclude, record_to=record_to))


@click.command()
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), default=SIM, show_default=True, help="Its port and sockets."
)
@click.option("--bundle", type=click.Path(exists=True, path_type=Path), help="Policy bundle that its robot.toml names.")
@click.option("--seed", type=click.IntRange(min=0), help="Layout of the table (default 0).")
@click.option("--protocol", type=click.Choice(["feetech", "dynamixel"]), help="Serve servos alone, for any client.")
@click.option("--servos", type=click.IntRange(1, 252), help="How many of them, with ids from 1 (default 6).")
@click.option("--port", type=click.Path(path_type=Path), help="Serial port to serve them on, such as /dev/ttyGS0.")
def sim(
    folder: Path, bundle: Path | None, seed: int | None, protocol: str | None, servos: int | None, port: Path | None
) -> None:
    """Serve the simulated robot until Ctrl-C.

    Its robot.toml and URDF appear beside its port and sockets, where they are not there yet. With --bundle,
    `edge run DIR/robot.toml` drives it; without, robot.toml names DIR/bundle. With --protocol it is servos alone,
    without arm and cameras, and the name of their port is printed: a pseudo-terminal in DIR, or --port.
    """
    if bundle and protocol:
        raise click.UsageError("--bundle goes without --protocol: servos alone have no robot.toml")
    from contextlib import closing

    from edge_runtime import plugins

    server = plugins.require("drivers.sim.__main__")
    with closing(server.make(folder, seed, protocol, servos, port=port)) as simulator:
        if not protocol:
            _describe(folder, bundle)
        server.serve(simulator)


def _describe(folder: Path, bundle: Path | None) -> None:
    """Leave the simulated robot's robot.toml and URDF where they are not there yet."""
    import os
    from importlib import resources

    from edge_runtime.errors import ConfigError
    from edge_runtime.files import write_whole

    kept = {name: resources.files("drivers.sim").joinpath(name).read_text(encoding="utf-8") for name in SIM_FILES}
    if bundle is not None:
        named = _bundle_line(os.path.relpath(bundle.resolve(), folder.resolve()))
        kept[ROBOT] = kept[ROBOT].replace(_bundle_line("bundle"), named)
        if (folder / ROBOT).exists() and named not in (folder / ROBOT).read_text(encoding="utf-8").splitlines():
            raise ConfigError(f"{folder / ROBOT}: is there already: write {named} into it, or remove it")
    for name, text in kept.items():
        if not (folder / name).exists():
            write_whole(folder / name, text)


def _bundle_line(path: str) -> str:
    """The line of robot.toml that names the bundle; a string of JSON is one of TOML."""
    import json

    return f"bundle = {json.dumps(path, ensure_ascii=False)}"


@click.command("replay-frames")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--bundle", type=click.Path(path_type=Path), required=True, help="Policy bundle.")
@click.option(
    "--map", "mapped", metavar="CAMERA=FIELD", multiple=True, help="Field of the dataset for a camera of the policy."
)
@click.option("--episodes", metavar="LIST", default="all", show_default=True, help='Which, such as "0,3,4".')
@click.option(
    "--rate", type=click.FloatRange(0, 1000, min_open=True), help="Steps a second, where the dataset does not say."
)
@click.option(
    "--report",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write report.json, report.html and commands.npz there.",
)
@json_option
def replay_frames(
    dataset: Path,
    bundle: Path,
    mapped: tuple[str, ...],
    episodes: str,
    rate: float | None,
    report: Path | None,
    json_file: str | None,
) -> None:
    """Play recorded robot footage to a policy.

    DATASET is a folder of RLDS episodes (Open X-Embodiment), a LeRobotDataset (v2.1, v3.0), or a recording of edge run
    --record. Its frames go through the real loop, onto a bus without motors. Commands are recorded; nothing moves.
    """
    from edge_runtime import plugins

    cameras, wanted = dict(_mapping(one) for one in mapped), _numbers(episodes)
    footage = plugins.require("calibration.open_dataset").open_dataset(dataset)
    from edge_runtime import replay, report_files, report_text
    from edge_runtime.report import summary

    played = replay.replay_frames(
        footage,
        bundle,
        cameras=cameras,
        episodes=wanted,
        rate_hz=rate,
        say=lambda words: click.echo(words, err=True),
    )
    if report is None:
        found = {**summary(played.record), **played.summary()}
    else:
        written = report_files.write(played.record, report, more=played.summary())
        found, commands = written.report, report / "commands.npz"
        played.save_commands(commands)
        click.echo(f"{written.json_file}\n{written.html_file}\n{commands}", err=True)
    emit(found, f"{report_text.text(found)}\n{played.text()}", json_file)


def _mapping(text: str) -> tuple[str, str]:
    camera, equals, field = text.partition("=")
    if not (camera and equals and field):
        raise click.BadParameter(f'"{text}" is not CAMERA=FIELD, such as base=image_0', param_hint="--map")
    return camera, field


def _numbers(text: str) -> tuple[int, ...] | None:
    """Episode numbers; None for all."""
    if text == "all":
        return None
    numbers = text.split(",")
    if not all(number.isdecimal() for number in numbers):
        raise click.BadParameter(f'"{text}" is neither "all" nor numbers such as 0,3,4', param_hint="--episodes")
    return tuple(int(number) for number in numbers)


COMMANDS: tuple[click.Command, ...] = (run, replay_frames, sim)
