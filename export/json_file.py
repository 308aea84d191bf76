"""JSON files: a checkpoint's into typed structures, where all that is wrong is one line that names it; our own out."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from export.errors import CheckpointError

T = TypeVar("T")


def read_json(path: Path, kind: type[T], needed: str = "a checkpoint directory needs it") -> T:
    """Decode `path` as `kind`; `CheckpointError` where it is missing (and why it is `needed`), no JSON, or not that."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); {needed}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def write_json(path: Path, content: object) -> None:
    """Write `content`, which msgspec can encode, for people too."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
