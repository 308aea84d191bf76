"""Commands about recorded data."""

from __future__ import annotations

from pathlib import Path

import click

from edge_runtime.commands.output import emit, json_option, progress


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--on-corrupt",
    type=click.Choice(["skip", "fail"]),
    default="skip",
    show_default=True,
    help="List damaged records and go on, or end with the first.",
)
@click.option(
    "--to-lerobot",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write a recording as LeRobotDataset v3.0 to the new folder DIR instead.",
)
@click.option("--fps", type=int, help="Frames a second there.  [default: the rate at which the robot inferred]")
@json_option
def dataset(path: Path, on_corrupt: str, to_lerobot: Path | None, fps: int | None, json_file: str | None) -> None:
    """Say what is in recorded data, and what is damaged.

    PATH is a folder of RLDS episodes (Open X-Embodiment), a LeRobotDataset (v2.1, v3.0), or a recording of edge run
    --record. Every record is read and every image decoded.
    """
    from edge_runtime import plugins

    if fps is not None and to_lerobot is None:
        raise click.UsageError("--fps is for --to-lerobot")
    opened = plugins.require("calibration.open_dataset").open_dataset(path)
    if to_lerobot is not None:
        convert = plugins.require("calibration.lerobot.convert")
        with progress("episodes") as moved:
            facts = convert.to_lerobot(
                opened, to_lerobot, fps, on_corrupt, lambda done, of: moved("episodes", done / max(1, of))
            )
        emit(facts, convert.text(facts), json_file)
        return
    describe = plugins.require("calibration.describe")
    with progress("episodes") as moved:
        facts = describe.describe(opened, on_corrupt, lambda done, of: moved("episodes", done / max(1, of)))
    emit(facts, describe.text(facts), json_file)


COMMANDS: tuple[click.Command, ...] = (dataset,)
