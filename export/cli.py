"""`edge export`, without its options' parsing: sizes of frames in words, one bundle at the end; and `--list`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from export.errors import ExportError
from export.family import families
from export.layouts import LAYOUTS
from export.layouts.options import Options
from export.pipeline import export_checkpoint
from export.steps import Progress
from export.stored import open_safetensors

IMAGE = "image."


def run(
    checkpoint: Path,
    out: Path,
    options: Options,
    *,
    cameras: Iterable[str] = (),
    cameras_like: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Export `checkpoint` to a bundle at `out` and return that.

    `cameras` are "NAME=HEIGHTxWIDTH"; `cameras_like` is an observation whose frames have the right sizes. Raises as
    `export.pipeline.export_checkpoint` does.
    """
    said = [camera_size(text) for text in cameras]
    twice = next((name for i, (name, _) in enumerate(said) if name in dict(said[:i])), None)
    if twice is not None:
        raise ExportError(f"--camera {twice}: is given twice")
    sizes = dict(said) | ({} if cameras_like is None else sizes_like(cameras_like)) | dict(said)
    unordered = not set(sizes) <= set(dict(said))
    return export_checkpoint(checkpoint, out, replace(options, cameras=sizes, unordered=unordered), progress)


def camera_size(text: str) -> tuple[str, tuple[int, int]]:
    """ "base=480x640" → ("base", (480, 640)): a frame's shape, height first as in an array."""
    found = re.fullmatch(r"([^=]+)=(\d+)[x×](\d+)", text)
    if found is None:
        raise ExportError(f"--camera {text}: expected NAME=HEIGHTxWIDTH, for example base=480x640")
    name, height, width = found.groups()
    return name, (int(height), int(width))


def sizes_like(observation: Path) -> dict[str, tuple[int, int]]:
    """(height, width) of every `image.<camera>` in an observation as `edge infer` takes it."""
    stored = open_safetensors(observation)
    shapes = {name.removeprefix(IMAGE): stored.shape(name) for name in sorted(stored.names) if name.startswith(IMAGE)}
    for name, shape in shapes.items():
        if len(shape) != 3 or shape[2] != 3:
            raise ExportError(f"{observation}: {IMAGE}{name} has shape {list(shape)}, expected [height, width, 3]")
    if not shapes:
        raise ExportError(f"{observation}: has no image.<camera>, so it says nothing of frames")
    return {name: (shape[0], shape[1]) for name, shape in shapes.items()}


def table() -> list[dict[str, str]]:
    """A row for each family: name, head, layouts, and what a checkpoint needs beside it."""
    return [
        {
            "family": family.name,
            "layouts": ", ".join(layout.name for layout in LAYOUTS if family.name in layout.families),
            "head": family.head,
            "needs": family.needs,
        }
        for family in families()
    ]


def table_text(rows: list[dict[str, str]]) -> str:
    """The table for a person."""
    names = ("family", "layouts", "head")
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    lines = ["  ".join(name.ljust(widths[name]) for name in names).rstrip()]
    for row in rows:
        lines.append("  ".join(row[name].ljust(widths[name]) for name in names).rstrip())
        lines.append(f"    needs {row['needs']}")
    return "\n".join(lines)
