"""The FAST tokenizer of a pi0-FAST checkpoint: the directory of `physical-intelligence/fast`, without its code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from tokenizers import Tokenizer

from edge_runtime.bundle_spec import FastScheme
from export.errors import CheckpointError
from export.json_file import read_json
from export.layouts.text import read_tokenizer

NEEDED = "--fast-tokenizer names a directory with it"
FILE = "fast_tokenizer.json"
"""Its name in the bundle."""


class _Processor(msgspec.Struct):
    """processor_config.json, as far as it shapes decoding."""

    min_token: int
    scale: Annotated[float, msgspec.Meta(gt=0, le=1e9)]
    vocab_size: int


@dataclass(frozen=True)
class Fast:
    """The scheme, every token that may stand in an answer (ascending), and the file that goes into the bundle."""

    scheme: FastScheme
    token_ids: tuple[int, ...]
    file: Path


def read_fast(
    directory: Path | None, text: Tokenizer, text_path: Path, *, vocab: int, skip: int, relaxed: bool
) -> Fast:
    """Read `directory` (`--fast-tokenizer`). FAST token f is the model's token `vocab` - 1 - `skip` - f.

    An answer is "Action: ", FAST tokens and "|". `relaxed`: see `FastScheme`.
    """
    if directory is None:
        raise CheckpointError("pi0_fast: no layout brings the FAST tokenizer; give its directory with --fast-tokenizer")
    processor, file = (
        read_json(directory / "processor_config.json", _Processor, NEEDED),
        directory / "tokenizer.json",
    )
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file; {NEEDED}")
    size = read_tokenizer(file).get_vocab_size()
    top = vocab - 1 - skip
    if not 0 < size <= top + 1:
        raise CheckpointError(f"{file}: {size} FAST tokens do not fit below token {top} of the model")
    prefix: list[int] = text.encode("Action: ", add_special_tokens=False).ids
    stop: int | None = text.token_to_id("|")
    if stop is None or not prefix:
        raise CheckpointError(f"{text_path}: cannot spell 'Action: ' or '|'; it is another model's tokenizer")
    scheme = FastScheme(
        tokenizer=FILE,
        prefix=tuple(prefix),
        stop=stop,
        top=top,
        min_token=processor.min_token,
        scale=processor.scale,
        relaxed=relaxed,
    )
    ids = {*prefix, stop, *range(top - size + 1, top + 1)}
    return Fast(scheme, tuple(sorted(ids)), file)
