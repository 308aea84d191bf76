"""A sentencepiece BPE model becomes a `tokenizers.Tokenizer` that encodes alike, so the robot needs one small library.

The file is a protocol buffer: sentencepiece_model.proto of github.com/google/sentencepiece, whose field numbers stand
below. What is made of a text is normalizer.cc and bpe_model.cc there: of all pairs of neighbours that make a piece, the
one of the highest score is joined, the leftmost of equals; user-defined symbols are cut out first, the longest at a
place; what is no piece then is bytes, or one unknown for a run. Control symbols are never read from a text.

Within the characters that end up as one piece, every join is the one it would be if they were the whole text. So each
piece has one last join, found by encoding its own text, and a list of these in the order of the scores is all the
merges there are. What `tokenizers` cannot do alike is refused.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers

from edge_runtime.protobuf import Message
from export.errors import CheckpointError

SPACE = "\u2581"
"""What stands for a space in pieces (kSpaceSymbol)."""
LARGEST_FILE = 256 << 20
LONGEST_PIECE = 1024
"""Bytes and characters, both far above any published model (Gemma's: 4 MB): what is larger is another kind of file."""

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""ModelProto.SentencePiece.Type"""
BPE = 2
MODEL_TYPES = {1: "unigram", BPE: "BPE", 3: "word", 4: "char"}
"""TrainerSpec.ModelType"""
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))

Pair = tuple[str, str]


class Piece(NamedTuple):
    text: str
    score: float
    kind: int


class Model(NamedTuple):
    """What encoding depends on; a piece's place is its id."""

    pieces: list[Piece]
    byte_fallback: bool
    dummy_prefix: bool
    squeeze: bool
    """NormalizerSpec.remove_extra_whitespaces"""
    space: str

    def texts(self, kind: int) -> list[str]:
        return [piece.text for piece in self.pieces if piece.kind == kind]


def load_tokenizer(path: Path) -> Tokenizer:
    """A `.model` is converted, any other file read as tokenizer.json; `CheckpointError` where it is neither."""
    if path.suffix == ".model":
        return to_tokenizers(path)
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        why = " ".join(str(error).split())
        raise CheckpointError(f"{path}: not a tokenizer.json ({why}); give the checkpoint's own tokenizer") from error


def to_tokenizers(path: Path) -> Tokenizer:
    """What encodes any text as sentencepiece's `encode` does, without marks (`add_special_tokens=False` or not).

    `CheckpointError` where `path` is no sentencepiece model, or one that `tokenizers` has no equal of.
    """
    try:
        return _tokenizer(_read(_content(path)))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); give the checkpoint's tokenizer") from error
    except ValueError as error:
        raise CheckpointError(
            f"{path}: not a sentencepiece model that can be converted ({error}); give the same tokenizer as a "
            "tokenizer.json"
        ) from error


def _content(path: Path) -> bytes:
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise ValueError(f"{size} bytes, at most {LARGEST_FILE}")
    return path.read_bytes()


def _read(data: bytes) -> Model:
    """ModelProto: pieces 1, trainer_spec 2, normalizer_spec 3."""
    proto = Message(data)
    trainer, normalizer = proto.message(2), proto.message(3)
    model = Model(
        pieces=[_piece(blob) for blob in proto.parts(1)],
        byte_fallback=bool(trainer.numbers.get(35, 0)),
        dummy_prefix=bool(normalizer.numbers.get(3, 1)),
        squeeze=bool(normalizer.numbers.get(4, 1)),
        space=SPACE if normalizer.numbers.get(5, 1) else " ",  # escape_whitespaces
    )
    _check_pieces(model)
    _check_specs(trainer, normalizer)
    return model


def _piece(data: bytes) -> Piece:
    """ModelProto.SentencePiece: piece 1, score 2, type 3."""
    message = Message(data)
    text = message.last(1).decode()
    piece = Piece(text, message.floats.get(2, 0.0), message.numbers.get(3, NORMAL))
    if not 0 < len(text) <= LONGEST_PIECE or "\0" in text:
        raise ValueError(f"a piece of {len(text)} characters, {text[:20]!r}")
    if not math.isfinite(piece.score):
        raise ValueError(f"piece {text!r} has the score {piece.score}")
    if piece.kind not in (NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE):
        raise ValueError(f"piece {text!r} is {'unused' if piece.kind == UNUSED else f'of type {piece.kind}'}")
    return piece


def _check_pieces(model: Model) -> None:
    """What sentencepiece demands when it opens a model, and that a mark is not a character of the text."""
    if not model.pieces:
        raise ValueError("it has no pieces")
    text, count = Counter(piece.text for piece in model.pieces).most_common(1)[0]
    if count > 1:
        raise ValueError(f"piece {text!r} occurs {count} times")
    if (unknowns := len(model.texts(UNKNOWN))) != 1:
        raise ValueError(f"{unknowns} unknown pieces, expected one")
    if sorted(model.texts(BYTE)) != (sorted(BYTES) if model.byte_fallback else []):
        raise ValueError(f"{len(model.texts(BYTE))} byte pieces with byte_fallback {model.byte_fallback}")
    if single := [text for text in model.texts(UNKNOWN) + model.texts(CONTROL) if len(text) == 1]:
        raise ValueError(f"the mark {single[0]!r} is one character, as of a text")


def _check_specs(trainer: Message, normalizer: Message) -> None:
    """TrainerSpec: model_type 3, treat_whitespace_as_suffix 24; NormalizerSpec: precompiled_charsmap 2.

    `identity` is an empty map: Mistral's models have it, and transformers' converter takes Gemma's to have it.
    """
    kind = trainer.numbers.get(3, 1)
    if kind != BPE:
        raise ValueError(f"its model is {MODEL_TYPES.get(kind, kind)}, only BPE is converted")
    if normalizer.last(2):
        raise ValueError("it normalises characters (precompiled_charsmap), only identity is converted")
    if trainer.numbers.get(24, 0):
        raise ValueError("it has spaces behind words (treat_whitespace_as_suffix)")


def _tokenizer(model: Model) -> Tokenizer:
    bpe = models.BPE(
        vocab={piece.text: i for i, piece in enumerate(model.pieces)},
        merges=_merges(model.pieces),
        unk_token=model.texts(UNKNOWN)[0],
        fuse_unk=True,
        byte_fallback=model.byte_fallback,
    )
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = _normalizer(model)
    tokenizer.decoder = _decoder(model)
    tokenizer.add_tokens(_symbols(model, tokenizer.normalizer))
    return tokenizer


def _normalizer(model: Model) -> normalizers.Normalizer:
    """Normalizer::Normalize without a map, step by step."""
    steps: list[normalizers.Normalizer] = []
    if model.squeeze:
        steps += [normalizers.Replace(Regex(r"\A +"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if model.dummy_prefix:
        steps.append(normalizers.Prepend(model.space))
    if model.space != " ":
        steps.append(normalizers.Replace(" ", model.space))
    if model.squeeze:
        steps.append(normalizers.Replace(Regex(rf"{model.space}+\z"), ""))
    return normalizers.Sequence(steps)


def _symbols(model: Model, normalizer: normalizers.Normalizer) -> list[AddedToken]:
    """`tokenizers` looks in the normalised text for the normalised symbol, which therefore has to be the symbol."""
    texts = model.texts(USER_DEFINED)
    if changed := [text for text in texts if normalizer.normalize_str(text) != text]:
        why = "add_dummy_prefix" if model.dummy_prefix else "its spaces"
        raise ValueError(f"the user-defined symbol {changed[0]!r} cannot be kept with {why}")
    return [AddedToken(text, normalized=True, special=False) for text in texts]


def _decoder(model: Model) -> decoders.Decoder:
    """Bytes become characters, and the space that encoding put in front goes."""
    steps = [decoders.Replace(model.space, " "), decoders.ByteFallback(), decoders.Fuse()]
    if model.dummy_prefix or model.squeeze:
        steps.append(decoders.Strip(" ", 1, 0))
    return decoders.Sequence(steps)


def _merges(pieces: Sequence[Piece]) -> list[Pair]:
    """The last join of every piece that joins can make, the highest score first."""
    scores = {piece.text: piece.score for piece in pieces if piece.kind == NORMAL}
    joins = {text: pair for text in scores if (pair := _last_join(text, scores)) is not None}
    _check_parts(joins, {piece.text for piece in pieces})
    _check_ties(joins, scores)
    return [joins[text] for text in sorted(joins, key=lambda text: (-scores[text], -len(text)))]


def _last_join(text: str, scores: Mapping[str, float]) -> Pair | None:
    """The two pieces that `text` is before it is one; None where encoding it does not end so."""
    parts = list(text)
    while len(parts) > 2:
        found = [scores.get(left + right, -math.inf) for left, right in pairwise(parts)]
        best = max(found)
        if best == -math.inf:
            return None
        at = found.index(best)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return (parts[0], parts[1]) if len(parts) == 2 else None


def _check_parts(joins: Mapping[str, Pair], known: Collection[str]) -> None:
    """`tokenizers` looks a character up before it joins, sentencepiece after."""
    for text, pair in joins.items():
        if missing := [part for part in pair if part not in known]:
            raise ValueError(f"piece {text!r} has the character {missing[0]!r}, which is no piece")


def _check_ties(joins: Mapping[str, Pair], scores: Mapping[str, float]) -> None:
    """Of joins with one score sentencepiece takes the leftmost, `tokenizers` the first in the list.

    That is the same, the longest first, for all runs of one character (Llama 2 and Mistral have those of spaces) where
    no join that comes before meddles; the test compares every set of short ones.
    """
    tied = defaultdict(set)
    for text in joins:
        tied[scores[text]].add(text)
    for score, group in ((score, group) for score, group in tied.items() if len(group) > 1):
        if not _are_runs(group, {text: pair for text, pair in joins.items() if scores[text] > score}):
            first, second, *_ = sorted(group)
            raise ValueError(f"pieces {first!r} and {second!r} have the same score {score:g}")


def _are_runs(group: Collection[str], before: Mapping[str, Pair]) -> bool:
    """Whether `group` is runs of one character, and the joins `before` neither make one nor need one of these."""
    characters = set("".join(group))
    return len(characters) == 1 and not any(
        set(text) == characters or left in group or right in group for text, (left, right) in before.items()
    )
