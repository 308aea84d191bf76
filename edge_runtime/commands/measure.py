"""Commands that measure."""

from __future__ import annotations

from pathlib import Path

import click

from edge_runtime.commands.output import emit, json_option


@click.command()
@click.argument("robot", metavar="[ROBOT.TOML]", required=False)
@click.option("--sim", is_flag=True, help="The simulated arm, at work: it moves.")
@click.option(
    "--rate",
    type=click.FloatRange(1, 1000),
    help="Control ticks a second (default: what robot.toml says; 100 with --sim).",
)
@click.option(
    "--seconds", type=click.FloatRange(1, 86_400), default=20.0, show_default=True, help="How long the loop runs."
)
@click.option("--load", "kind", type=click.Choice(["cpu", "memory", "io"]), help="Keep that of the machine busy.")
@click.option("--bundle", type=click.Path(path_type=Path), help="Policy bundle for --sim (default runs/demo/bundle).")
@click.option(
    "--report", metavar="DIR", type=click.Path(path_type=Path), help="Write report.json and report.html there."
)
@json_option
def bench(
    robot: str | None,
    sim: bool,
    rate: float | None,
    seconds: float,
    kind: str | None,
    bundle: Path | None,
    report: Path | None,
    json_file: str | None,
) -> None:
    """Measure the loop beside cyclictest: on the simulated arm, or on a robot.

    A robot is measured as it stands: its motors are read and not written, so that nothing moves and torque stays as it
    is, while its cameras and its policy work as they do during a task.
    """
    if sim == (robot is not None):
        raise click.UsageError("give one of ROBOT.TOML, which is measured as it stands, and --sim, which moves")
    if robot is not None and bundle is not None:
        raise click.UsageError("--bundle goes with --sim: a robot.toml names its own")

    def say(words: str) -> None:
        click.echo(words, err=True)

    from edge_runtime import bench_text, config_parts
    from edge_runtime.bench import bench_robot, bench_sim

    if robot is None:
        found = bench_sim(rate or 100.0, seconds, bundle, report, say, kind)
    else:
        settings, notes = config_parts.load(robot)
        for note in notes:
            say(f"edge: {note}")
        found = bench_robot(settings, rate, seconds, report, say, kind)
    emit(found, bench_text.text(found), json_file)


COMMANDS: tuple[click.Command, ...] = (bench,)
