"""What the families of the lerobot layout are read from, and what is read of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime.bundle_spec import FlowSpec, Head, PromptSpec
from export.image import Preprocess
from export.json_file import read_json
from export.layouts.given import Given
from export.layouts.lerobot_files import Config


class Common(msgspec.Struct):
    """The keys of a dims.json that every family has; all are optional."""

    fps: float | None = None
    units: str = ""


@dataclass(frozen=True)
class Parts:
    """What differs between families: sizes, head, prompt, frames, the actions in a chunk, and more files."""

    config: Any
    head: Head
    prompt: PromptSpec
    image: Preprocess
    horizon: int
    files: dict[str, Path]


@dataclass(frozen=True)
class LerobotGiven(Given):
    """What a family's function reads its parts from."""

    config: Config

    @property
    def common(self) -> Common:
        return read_json(self.dims, Common, "--dims names a file with the model's sizes") if self.dims else Common()

    @property
    def max_tokens(self) -> int:
        return self.options.max_tokens or self.config.tokenizer_max_length

    def flow(self, steps: int, cache: tuple[str, ...]) -> FlowSpec:
        """The head of `steps` flow steps, or of as many as the person wants, and of as many committed actions."""
        trained, told = self.config.rtc_training_max_delay, self.options.committed
        committed = trained if told is None else told
        return FlowSpec(self.options.steps or steps, t_start=1.0, t_end=0.0, cache=cache, committed=committed)
