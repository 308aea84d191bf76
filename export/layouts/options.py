"""What a person tells the export beside the checkpoint directory, because no file of the layout says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """Every field is optional; what is given replaces what the checkpoint says.

    `cameras`: (height, width) of this robot's frames, in an order that means nothing where `unordered`. `dims`: a file
    with the model's sizes. `tokenizer`: the text tokenizer (tokenizer.json, or a sentencepiece .model).
    `fast_tokenizer`: directory of the FAST tokenizer. `statistics`: which robot's statistics, where there are several.
    `max_tokens`: room for the prompt. `steps`: flow steps. `fps`: rate of the actions. `crop`: frames are resized and
    cropped as fine-tunes with augmentation want it. `committed`: how many actions the checkpoint was trained to be
    given. `guided`: a guide graph too (`export.guide`).
    """

    cameras: dict[str, tuple[int, int]] = field(default_factory=dict)
    unordered: bool = False
    dims: Path | None = None
    tokenizer: Path | None = None
    fast_tokenizer: Path | None = None
    statistics: str | None = None
    max_tokens: int | None = None
    steps: int | None = None
    fps: float | None = None
    crop: bool = False
    committed: int | None = None
    guided: bool = False
