"""Commands about models: from a checkpoint to a verified bundle, and what is in one."""

from __future__ import annotations

from pathlib import Path

import click

from edge_runtime.commands.output import emit, json_option


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", metavar="BUNDLE", type=click.Path(path_type=Path), required=True, help="Where the bundle goes."
)
@click.option(
    "--camera", "cameras", metavar="NAME=HxW", multiple=True, help="Size of this robot's frames; once a camera."
)
@click.option("--fps", type=float, help="Rate of the actions where the checkpoint does not say it.")
@click.option(
    "--dims", type=click.Path(path_type=Path), help="File with the model's sizes, where the layout lacks them."
)
@click.option("--tokenizer", type=click.Path(path_type=Path), help="tokenizer.json, where the checkpoint has none.")
@json_option
def export(
    checkpoint: Path,
    out: Path,
    cameras: tuple[str, ...],
    fps: float | None,
    dims: Path | None,
    tokenizer: Path | None,
    json_file: str | None,
) -> None:
    """Export a checkpoint to a verified policy bundle."""
    from edge_runtime import plugins

    exporter = plugins.require("export.cli")
    exporter.run(checkpoint, out, cameras=cameras, dims=dims, tokenizer=tokenizer, fps=fps)
    _describe(out, json_file)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@json_option
def inspect(bundle: Path, json_file: str | None) -> None:
    """Check every byte of a bundle and say what is in it."""
    _describe(bundle, json_file)


def _describe(bundle: Path, json_file: str | None) -> None:
    from edge_runtime import inspect

    words, facts = inspect.inspect(bundle)
    emit(facts, words, json_file)


COMMANDS: tuple[click.Command, ...] = (export, inspect)
