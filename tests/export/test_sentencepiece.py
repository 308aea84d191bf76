"""A converted model against the `sentencepiece` package itself, and every model that cannot be converted."""

from __future__ import annotations

import io
import itertools
import json
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from export.errors import CheckpointError
from export.sentencepiece import (
    BYTE,
    BYTES,
    CONTROL,
    LONGEST_PIECE,
    NORMAL,
    SPACE,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    load_tokenizer,
    to_tokenizers,
)

Pieces = Sequence[tuple[str, float, int]]
Encode = Callable[[str], list[int]]

CORPUS = [
    "pick up the red cube and put it into the blue bowl",
    "open the top drawer, then close the bottom drawer",
    "Task: stack 12 cubes, State: 46 204 167 35; Action: ",
    "wipe the table with the towel; the towel is under the cup",
    "légère crème brûlée, 把红色的方块放进碗里, поднять кубик",
]
SYMBOLS = ["\n", "\n\n", "<image>", "<image>s", f"{SPACE}{SPACE}", "the"]
FRAGMENTS = [
    *(" ", "  ", "     ", SPACE, "\t", "\n", "\n\n", "\n\n\n", "\0", "\r\n", "\u00a0", "\u3000", "\ufeff", "\ufffd"),
    *("pick", "up", "the", "red_cube", "drawer", "légère", "方块", "кубик", "46 204", "0", "é", "e\u0301", "🦾", "🏳️‍🌈"),
    *("<s>", "</s>", "<unk>", "<image>", "<image>s", "<ima", "<0x41>", "<pad>", "thethe"),
]
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=6), max_size=12).map("".join)
UNK, MARK = ("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL)
SMALL = (UNK, MARK, ("ab", -0.0, NORMAL), ("a", -1.0, NORMAL), ("b", -2.0, NORMAL))


@pytest.fixture(scope="session")
def spm() -> Any:
    return pytest.importorskip("sentencepiece", reason="the package that the conversion is compared with")


@cache
def trained(byte_fallback: bool, dummy_prefix: bool, squeeze: bool, symbols: bool) -> bytes:
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 4),
        model_writer=model,
        model_type="bpe",
        vocab_size=440 if byte_fallback else 180,
        normalization_rule_name="identity",
        byte_fallback=byte_fallback,
        add_dummy_prefix=dummy_prefix,
        remove_extra_whitespaces=squeeze,
        user_defined_symbols=SYMBOLS[: -2 if squeeze else None] if symbols else [],
        allow_whitespace_only_pieces=True,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def blob(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def piece(text: bytes, score: float, kind: int) -> bytes:
    return blob(1, blob(1, text) + varint(2 << 3 | 5) + struct.pack("<f", score) + number(3, kind))


def written(
    pieces: Pieces = SMALL,
    kind: int = 2,
    byte_fallback: bool = False,
    dummy_prefix: bool = False,
    squeeze: bool = False,
    escape: bool = True,
    trainer: bytes = b"",
    normalizer: bytes = b"",
) -> bytes:
    """A model file; sentencepiece_model.proto says which number is which field."""
    trainer = number(3, kind) + number(35, byte_fallback) + trainer
    normalizer = number(3, dummy_prefix) + number(4, squeeze) + number(5, escape) + normalizer
    return b"".join(piece(text.encode(), *rest) for text, *rest in pieces) + blob(2, trainer) + blob(3, normalizer)


def converted(tmp: Path, model: bytes) -> Tokenizer:
    path = tmp / "tokenizer.model"
    path.write_bytes(model)
    return to_tokenizers(path)


@cache
def both(model: bytes) -> tuple[Encode, Encode]:
    """What sentencepiece encodes and what we do, by way of the tokenizer.json that a bundle holds."""
    import tempfile

    from sentencepiece import SentencePieceProcessor

    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "tokenizer.json"
        converted(Path(folder), model).save(str(saved))
        ours = load_tokenizer(saved)
    return SentencePieceProcessor(model_proto=model).encode, lambda text: list(ours.encode(text).ids)


def assert_alike(model: bytes, text: str) -> None:
    theirs, ours = both(model)
    assert ours(text) == theirs(text)


FLAGS = [
    flags
    for flags in itertools.product([False, True], repeat=4)
    if not (flags[1] and flags[3])  # a dummy prefix and symbols: refused, below
]


@pytest.mark.parametrize("flags", FLAGS, ids=lambda f: "-".join(map(str, map(int, f))))
@given(text=TEXTS)
def test_a_trained_model(spm: Any, flags: tuple[bool, bool, bool, bool], text: str) -> None:
    assert_alike(trained(*flags), text)


@pytest.mark.parametrize("flags", [f for f in FLAGS if f[0]], ids=lambda f: "-".join(map(str, map(int, f))))
@given(text=TEXTS)
def test_what_was_encoded_is_decoded(
    spm: Any, tmp_path_factory: pytest.TempPathFactory, flags: tuple[bool, bool, bool, bool], text: str
) -> None:
    model = trained(*flags)
    ids = both(model)[0](text)
    assert decoder(model).decode(ids, skip_special_tokens=False) == spm.SentencePieceProcessor(
        model_proto=model
    ).decode(ids)


@cache
def decoder(model: bytes) -> Tokenizer:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return converted(Path(folder), model)


@st.composite
def models(draw: st.DrawFn) -> tuple[bytes, str]:
    """Scores in no order that training would give, pieces that no merge can make, symbols across them; and a text."""
    letters = draw(st.sampled_from(["ab", f"a{SPACE}", f"ab{SPACE}"]))
    made = list(letters)
    for _ in range(draw(st.integers(1, 14))):
        made.append((draw(st.sampled_from(made)) + draw(st.sampled_from(made)))[:12])
    texts = sorted({*made, *draw(st.lists(st.text(letters, min_size=2, max_size=7), max_size=4))} - set(letters))
    symbols = draw(st.sets(st.sampled_from(texts) | st.text(f"{letters}x", min_size=1, max_size=4), max_size=2))
    byte_fallback = draw(st.booleans())
    scores = draw(st.permutations(range(len(texts) + len(letters))))
    normal = [
        (text, -float(score), NORMAL)
        for text, score in zip([*letters, *texts], scores, strict=True)
        if text not in symbols
    ]
    pieces = [UNK, MARK, *[(byte, 0.0, BYTE) for byte in BYTES if byte_fallback], *normal]
    pieces += [(text, 0.0, USER_DEFINED) for text in sorted(symbols)]
    model = written(
        pieces,
        byte_fallback=byte_fallback,
        dummy_prefix=not symbols and draw(st.booleans()),
        squeeze=not symbols and draw(st.booleans()),
        escape=draw(st.booleans()),
    )
    return model, draw(st.text(f"{letters} xé", max_size=40))


@given(models())
def test_any_model(spm: Any, case: tuple[bytes, str]) -> None:
    assert_alike(*case)


@pytest.mark.parametrize("lengths", [[n for n in range(2, 8) if mask >> n & 1] for mask in range(0, 256, 4)], ids=str)
def test_runs_of_spaces_with_one_score(spm: Any, lengths: list[int]) -> None:
    runs = [(SPACE * n, -1e9, NORMAL) for n in lengths]
    model = written([*SMALL, (SPACE, -3.0, NORMAL), (f"{SPACE}a", -0.5, NORMAL), *runs])
    for n in range(20):
        assert_alike(model, " " * n)
        assert_alike(model, f"a{' ' * n}a{' ' * (n // 2)}b")


def test_a_model_told_in_parts(spm: Any) -> None:
    """A message that comes twice is the sum of both, a number the last one; unknown fields do no harm."""
    later = blob(2, number(3, 1) + number(3, 2)) + blob(3, number(3, 1))
    unknown = number(900, 1 << 63) + blob(901, b"?") + varint(902 << 3 | 1) + bytes(8) + varint(903 << 3 | 5) + bytes(4)
    assert_alike(written(kind=1) + later + unknown, "ab a b")


def test_marks_have_their_ids_and_are_no_text(tmp_path: Path) -> None:
    tokenizer = converted(tmp_path, written())
    assert [tokenizer.token_to_id(mark) for mark in ("<unk>", "<s>", "ab")] == [0, 1, 2]
    assert tokenizer.encode("<s>ab").ids == [0, 2]


@pytest.fixture(params=["pi0_openpi", "pi05_openpi"])
def golden(request: pytest.FixtureRequest, shared: Path) -> Path:
    folder = shared / "golden" / "a" / str(request.param)
    if not folder.is_dir():
        pytest.skip(f"no golden set: {folder} is not there")
    return folder


def test_the_prompt_of_the_golden_set(golden: Path) -> None:
    tokenizer = load_tokenizer(golden / "tokenizer" / "paligemma_tokenizer.model")
    tensors, dims = load_file(golden / "io.safetensors"), json.loads((golden / "dims.json").read_text())
    parts = [dims["prompt"]] if dims["pi05"] else [dims["prompt"].removesuffix("\n"), "\n"]
    ids = [tokenizer.token_to_id("<s>"), *(i for part in parts for i in tokenizer.encode(part).ids)]
    assert ids == tensors["in.tokens"][tensors["in.token_mask"]].tolist()


@given(text=TEXTS)
def test_any_text_with_the_golden_model(spm: Any, shared: Path, text: str) -> None:
    path = shared / "golden" / "a" / "pi0_openpi" / "tokenizer" / "paligemma_tokenizer.model"
    if not path.is_file():
        pytest.skip(f"no golden set: {path} is not there")
    assert_alike(path.read_bytes(), text)


def with_pieces(*more: tuple[str, float, int], **flags: bool) -> bytes:
    return written([*SMALL, *more], **flags)


REFUSED = {
    "unigram": (written(kind=1), "its model is unigram"),
    "word": (written(kind=3), "its model is word"),
    "type 9": (written(kind=9), "its model is 9"),
    "no trainer": (piece(b"<unk>", 0, UNKNOWN), "its model is unigram"),
    "charsmap": (written(normalizer=blob(2, b"\4\0\0\0map")), "precompiled_charsmap"),
    "suffix": (written(trainer=number(24, 1)), "treat_whitespace_as_suffix"),
    "no pieces": (written([]), "no pieces"),
    "empty": (b"", "no pieces"),
    "twice": (with_pieces(("a", -7.0, NORMAL)), "piece 'a' occurs 2 times"),
    "no unknown": (written(SMALL[1:]), "0 unknown pieces"),
    "two unknown": (with_pieces(("?!", 0.0, UNKNOWN)), "2 unknown pieces"),
    "no bytes": (with_pieces(byte_fallback=True), "0 byte pieces"),
    "a byte too few": (with_pieces(*((b, 0.0, BYTE) for b in BYTES[1:]), byte_fallback=True), "255 byte pieces"),
    "bytes unasked": (with_pieces(("<0x41>", 0.0, BYTE)), "1 byte pieces"),
    "unused": (with_pieces(("c", 0.0, UNUSED)), "piece 'c' is unused"),
    "a kind too many": (with_pieces(("c", 0.0, 7)), "piece 'c' is of type 7"),
    "a nameless piece": (with_pieces(("", 0.0, NORMAL)), "a piece of 0 characters"),
    "a novel": (with_pieces(("n" * (LONGEST_PIECE + 1), 0.0, NORMAL)), "a piece of 1025 characters"),
    "nul": (with_pieces(("a\0b", 0.0, NORMAL)), "a piece of 3 characters"),
    "no utf-8": (written() + piece(b"\xff", 0.0, NORMAL), "codec can't decode"),
    "nan": (with_pieces(("c", float("nan"), NORMAL)), "piece 'c' has the score nan"),
    "a mark in texts": (with_pieces(("c", 0.0, CONTROL)), "the mark 'c' is one character"),
    "tie": (with_pieces(("ba", 0.0, NORMAL)), "pieces 'ab' and 'ba' have the same score"),
    "tie of runs, one apart": (
        with_pieces(*(("a" * n, score, NORMAL) for n, score in [(2, -5), (3, -9), (5, -9)])),
        "pieces 'aaa' and 'aaaaa' have the same score",
    ),
    "tie of runs, one needed": (
        with_pieces(("aa", -9.0, NORMAL), ("aaa", -9.0, NORMAL), ("baa", 1.0, NORMAL)),
        "pieces 'aa' and 'aaa' have the same score",
    ),
    "letter": (with_pieces(("ac", -9.0, NORMAL)), "piece 'ac' has the character 'c', which is no piece"),
    "symbol, prefix": (with_pieces(("\n", 0.0, USER_DEFINED), dummy_prefix=True), r"'\\n' cannot be kept with add_d"),
    "symbol, squeezed": (with_pieces((SPACE, 0.0, USER_DEFINED), squeeze=True), "cannot be kept with its spaces"),
    "symbol, space": (with_pieces(("a b", 0.0, USER_DEFINED)), "'a b' cannot be kept with its spaces"),
    "group": (written() + varint(1 << 3 | 3), "wire type 3"),
    "long number": (written() + varint(9 << 3) + b"\xff" * 12, "more than ten bytes"),
    "short float": (written() + varint(9 << 3 | 5) + b"\0\0", "cut short"),
}


@pytest.mark.parametrize(("model", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_converted_is_one_line(tmp_path: Path, model: bytes, why: str) -> None:
    with pytest.raises(CheckpointError, match=why) as refusal:
        converted(tmp_path, model)
    message = str(refusal.value)
    assert message.startswith(f"{tmp_path / 'tokenizer.model'}: not a sentencepiece model that can be converted (")
    assert message.endswith("give the same tokenizer as a tokenizer.json")
    assert "\n" not in message


def test_every_truncated_model(tmp_path: Path) -> None:
    model = written()
    without_normalizer = model.rindex(b"\x1a\x06\x18")  # all defaults, a model still
    for size in {*range(len(model))} - {without_normalizer}:
        with pytest.raises(CheckpointError):
            converted(tmp_path, model[:size])


@given(st.binary(max_size=300))
def test_any_bytes_are_no_model(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    with pytest.raises(CheckpointError):
        converted(tmp_path_factory.getbasetemp(), data)


@given(st.integers(0, len(written()) - 1), st.binary(max_size=4))
def test_a_damaged_model_is_refused_or_another_model(
    tmp_path_factory: pytest.TempPathFactory, at: int, patch: bytes
) -> None:
    model = written()
    with suppress(CheckpointError):
        converted(tmp_path_factory.getbasetemp(), model[:at] + patch + model[at + len(patch) :]).encode("ab a")


def test_no_file_and_no_ordinary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match=r"none\.model: cannot be read \(No such file"):
        load_tokenizer(tmp_path / "none.model")
    (tmp_path / "folder.model").mkdir()
    with pytest.raises(CheckpointError, match=r"folder\.model: cannot be read \(Is a directory"):
        load_tokenizer(tmp_path / "folder.model")
    monkeypatch.setattr("export.sentencepiece.LARGEST_FILE", 8)
    with pytest.raises(CheckpointError, match="bytes, at most 8"):
        converted(tmp_path, written())


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"model": {}}', b"\xff", written()])
def test_anything_else_is_a_tokenizer_json(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"not a tokenizer\.json") as refusal:
        load_tokenizer(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)
