"""The text tokenizer that goes into a bundle, and the ids that a family's prompt needs of it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import overload

from tokenizers import Tokenizer

from export.errors import CheckpointError
from export.sentencepiece import load_tokenizer


@overload
def tokenizer_file(directory: Path, given: Path | None) -> Path: ...
@overload
def tokenizer_file(directory: Path, given: Path | None, *, optional: bool) -> Path | None: ...


def tokenizer_file(directory: Path, given: Path | None, *, optional: bool = False) -> Path | None:
    """The tokenizer's file: the given one, or the directory's own; `CheckpointError` where there is none.

    Where it is `optional`, a directory without one has None: the bundle takes tokens and no words.
    """
    path = given or directory / "tokenizer.json"
    if path.is_dir():
        path = path / "tokenizer.json"
    if not path.is_file():
        if optional and given is None:
            return None
        raise CheckpointError(f"{path}: no such file; this layout brings no tokenizer, give one with --tokenizer")
    return path


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer.json or a sentencepiece model, once: to convert one of Gemma's takes twenty seconds."""
    try:
        found = path.stat()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); give another with --tokenizer") from error
    return _read(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, _changed_ns: int, _size: int) -> Tokenizer:
    return load_tokenizer(path)


def open_tokenizer(path: Path, vocab: int) -> Tokenizer:
    """Read a tokenizer; `CheckpointError` where it has more tokens than a table of `vocab` rows."""
    tokens = read_tokenizer(path)
    if tokens.get_vocab_size() > vocab:
        raise CheckpointError(
            f"{path}: has {tokens.get_vocab_size()} tokens, the model's table {vocab}; it is another model's tokenizer"
        )
    return tokens


def token_id(path: Path, tokens: Tokenizer, *names: str) -> int:
    """The id of the first of `names` that there is; `CheckpointError` where there is none."""
    for name in names:
        found: int | None = tokens.token_to_id(name)
        if found is not None:
            return found
    raise CheckpointError(f"{path}: has no {' or '.join(names)}; it is another model's tokenizer")
