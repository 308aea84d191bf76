"""Commands that measure."""

from __future__ import annotations

from pathlib import Path

import click

from edge_runtime.commands.output import emit, json_option


@click.command()
@click.option("--sim", is_flag=True, help="Drive the simulated robot (the one robot that may be benched unattended).")
@click.option(
    "--rate", type=click.FloatRange(1, 1000), default=100.0, show_default=True, help="Control ticks a second."
)
@click.option(
    "--seconds", type=click.FloatRange(1, 86_400), default=20.0, show_default=True, help="How long the loop runs."
)
@click.option("--bundle", type=click.Path(path_type=Path), help="Policy bundle (default runs/demo/bundle).")
@click.option(
    "--report", metavar="DIR", type=click.Path(path_type=Path), help="Write report.json and report.html there."
)
@json_option
def bench(
    sim: bool, rate: float, seconds: float, bundle: Path | None, report: Path | None, json_file: str | None
) -> None:
    """Measure the loop on the simulated robot beside cyclictest."""
    if not sim:
        raise click.UsageError("a bench moves the robot by itself: say --sim for the simulated one")
    from edge_runtime import report_text
    from edge_runtime.bench import bench_sim

    found = bench_sim(rate, seconds, bundle, report, lambda words: click.echo(words, err=True))
    emit(found, report_text.text(found), json_file)


COMMANDS: tuple[click.Command, ...] = (bench,)
