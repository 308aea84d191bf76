"""Commands that run a robot: a real one, recorded footage in its place, or the simulated one."""

from __future__ import annotations

from pathlib import Path

import click

from edge_runtime.commands.output import emit, json_option, robot_argument

SIM = "runs/sim"


@click.command()
@robot_argument
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Stop by itself after so long.")
@click.option(
    "--report", metavar="DIR", type=click.Path(path_type=Path), help="Write report.json and report.html there."
)
@json_option
def run(robot: str, seconds: float | None, report: Path | None, json_file: str | None) -> None:
    """Run a robot until Ctrl-C; it starts disarmed."""
    from edge_runtime import config

    settings = config.load(robot)
    from edge_runtime import app, report_files, report_text
    from edge_runtime.report import summary

    record = app.run_robot(settings, seconds=seconds)
    if report is None:
        found = summary(record)
    else:
        written = report_files.write(record, report)
        found = written.report
        click.echo(f"{written.json_file}\n{written.html_file}", err=True)
    emit(found, report_text.text(found), json_file)


@click.command()
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), default=SIM, show_default=True, help="Its port and sockets."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Layout of the table.")
def sim(folder: Path, seed: int) -> int:
    """Serve the simulated robot until Ctrl-C.

    Its robot.toml appears beside its port and sockets, so that `edge run DIR/robot.toml` drives it.
    """
    from importlib import resources

    from edge_runtime import plugins
    from edge_runtime.files import write_whole

    server = plugins.require("drivers.sim.__main__")
    settings = folder / "robot.toml"
    if not settings.exists():
        write_whole(settings, resources.files("drivers.sim").joinpath("robot.toml").read_text(encoding="utf-8"))
    code: int = server.main(["--dir", str(folder), "--seed", str(seed)])
    return code


COMMANDS: tuple[click.Command, ...] = (run, sim)
