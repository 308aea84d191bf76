"""Which layout a checkpoint directory has, and what reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.checkpoint import Checkpoint
from export.errors import CheckpointError
from export.json_file import read_json
from export.layouts import huggingface, lerobot, openpi, rt2
from export.layouts.options import Options

Reader = Callable[[Path, Options], Checkpoint]


@dataclass(frozen=True)
class Layout:
    """A published layout: how config.json gives it away, and the families that come in it."""

    name: str
    told_by: str
    families: tuple[str, ...]


HUGGINGFACE: dict[str, Reader] = {"openvla": huggingface.read_openvla, "paligemma": rt2.read}
"""Hugging Face's `model_type` → what reads the directory."""
LAYOUTS = (
    Layout("lerobot", "type", tuple(lerobot.FAMILIES)),
    Layout("huggingface", "model_type", ("openvla", "openvla_oft", "rt2")),
    Layout("openpi", "paligemma_variant", tuple(openpi.SLOTS)),
)


def read(directory: Path, options: Options) -> Checkpoint:
    """Read everything but the weights; `CheckpointError` where it is none that this export knows."""
    return _reader(directory)(directory, options)


def _reader(directory: Path) -> Reader:
    path = directory / "config.json"
    if not directory.is_dir():
        what = "is no directory" if directory.exists() else "no such directory"
        raise CheckpointError(f"{directory}: {what}; a checkpoint is a directory with a config.json")
    config = read_json(path, dict[str, Any])
    if "type" in config:
        _known(path, "type", config["type"], lerobot.FAMILIES)
        return lerobot.read
    if "model_type" in config:
        _known(path, "model_type", config["model_type"], HUGGINGFACE)
        return HUGGINGFACE[config["model_type"]]
    if "paligemma_variant" in config:
        return openpi.read
    told_by = ", ".join(layout.told_by for layout in LAYOUTS)
    raise CheckpointError(f"{path}: has none of {told_by}, so it is of no layout that this export knows")


def _known(path: Path, field: str, value: object, known: Mapping[str, object]) -> None:
    if not isinstance(value, str) or value not in known:
        raise CheckpointError(f"{path}: {field} {value!r} is unknown; this export knows {', '.join(known)}")
