"""What a layout's reader starts from: a checkpoint directory, and what a person says beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from export.layouts.options import Options
from export.layouts.text import tokenizer_file


@dataclass(frozen=True)
class Given:
    """A directory with a config.json, and options that go before what it says."""

    directory: Path
    options: Options

    @property
    def path(self) -> Path:
        return self.directory / "config.json"

    @property
    def dims(self) -> Path | None:
        """The given dims file, or the directory's own."""
        own = self.directory / "dims.json"
        return self.options.dims or (own if own.is_file() else None)

    @property
    def tokenizer(self) -> Path:
        return tokenizer_file(self.directory, self.options.tokenizer)
