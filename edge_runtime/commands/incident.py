"""Commands about what went wrong."""

from __future__ import annotations

from pathlib import Path

import click

from edge_runtime.commands.output import emit, json_option


@click.command()
@click.argument("file", metavar="FILE.MCAP", type=click.Path(path_type=Path))
@click.option(
    "--report",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write report.json and report.html there.",
)
@json_option
def report(file: Path, folder: Path | None, json_file: str | None) -> None:
    """Say what a black box holds.

    FILE.MCAP is what a run has written on a HOLD or SAFE: the cause, the seconds before it, and the last minute as a
    run's report.
    """
    from edge_runtime import report_files, report_text
    from edge_runtime.black_box import read, report
    from edge_runtime.report import summary

    incident = read.read(file)
    record, found = report.record(incident), report.summary(incident)
    whole = {**summary(record), "incident": found}
    if folder is not None:
        written = report_files.write(record, folder, more={"incident": found}, front=report.page(incident, found))
        whole = written.report
        click.echo(f"{written.json_file}\n{written.html_file}", err=True)
    emit(whole, report.text(found) + report_text.text(whole), json_file)


COMMANDS: tuple[click.Command, ...] = (report,)
