"""`edge export`, without its options' parsing: a progress bar for a person, one bundle at the end."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from export.errors import ExportError
from export.pipeline import export_checkpoint


def run(
    checkpoint: Path,
    out: Path,
    *,
    cameras: Iterable[str] = (),
    dims: Path | None = None,
    tokenizer: Path | None = None,
    fps: float | None = None,
) -> Path:
    """Export with a progress bar on standard error. `cameras` are "NAME=HEIGHTxWIDTH". Returns `out`.

    Raises as `export.pipeline.export_checkpoint` does.
    """
    sizes = dict(camera_size(text) for text in cameras)
    columns = (TextColumn("{task.description:<14}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("checkpoint")
        return export_checkpoint(
            checkpoint,
            out,
            cameras=sizes,
            dims=dims,
            tokenizer=tokenizer,
            fps=fps,
            progress=lambda stage, done, total: bar.update(task, description=stage, completed=done, total=total),
        )


def camera_size(text: str) -> tuple[str, tuple[int, int]]:
    """ "base=480x640" → ("base", (480, 640)): a frame's shape, height first as in an array."""
    found = re.fullmatch(r"([^=]+)=(\d+)[x×](\d+)", text)
    if found is None:
        raise ExportError(f"--camera {text}: expected NAME=HEIGHTxWIDTH, for example base=480x640")
    name, height, width = found.groups()
    return name, (int(height), int(width))
