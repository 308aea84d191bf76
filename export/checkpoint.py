"""What a checkpoint says besides its weights, in our own terms, whatever family and layout it is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edge_runtime.bundle_spec import PolicySpec
from export.image import Preprocess
from export.stored import Stored


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, read and checked, its weights not yet loaded.

    `family` is a file of `export/models`, `config` its sizes, `spec` what the runtime will know (a camera whose size
    the layout does not record has height and width 0). Published tensor names stand in `stored` behind `prefix`; what
    is among `read` was no weight. `tokenizer`: None where a bundle takes tokens and no words. `rate`: who said what
    `spec.dt_s` is. `files`: more that the bundle needs, name there → file. `time`: how the reference counts flow time,
    as 1 - k/n rounded to float32, or by adding -1/n up in float32.
    """

    family: str
    layout: str
    config: Any
    spec: PolicySpec
    image: Preprocess
    stored: Stored
    tokenizer: Path | None
    prefix: str = ""
    read: frozenset[str] = frozenset()
    rate: Literal["given", "checkpoint", "assumed"] = "assumed"
    files: Mapping[str, Path] = field(default_factory=dict)
    time: Literal["fraction", "accumulated"] = "fraction"
