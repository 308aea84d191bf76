"""Which layout a checkpoint directory has, and what reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from export import lerobot
from export.checkpoint import Checkpoint
from export.errors import CheckpointError
from export.json_file import read_json
from export.models.pi0 import Pi0, Pi0Config


@dataclass(frozen=True)
class Layout:
    """`read` gives everything but the weights, `load` the weights, which stand in the file `weights`."""

    name: str
    weights: str
    read: Callable[[Path, Path | None, Path | None], Checkpoint]
    load: Callable[[Path, Pi0Config], Pi0]


LEROBOT = {"pi0": Layout("lerobot", lerobot.WEIGHTS, lerobot.read_lerobot, lerobot.load_lerobot)}
"""lerobot's `type` → layout."""


class _Head(msgspec.Struct):
    type: str


def detect(directory: Path) -> Layout:
    """The layout of a checkpoint directory; `CheckpointError` where it is none that this export knows."""
    path = directory / "config.json"
    head = read_json(path, _Head)
    if head.type not in LEROBOT:
        raise CheckpointError(f"{path}: type {head.type!r} is unknown; this export knows {', '.join(LEROBOT)}")
    return LEROBOT[head.type]
