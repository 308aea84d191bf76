"""The demo policy's tokenizer reads its instructions in few tokens and anything else in bytes."""

from __future__ import annotations

from pathlib import Path

from benchmarks.demo import words
from edge_runtime.bundle_spec import PromptSpec
from edge_runtime.tokenizer import PromptTokenizer

TOKENIZER = words.build()


def test_every_instruction_fits_with_paligemmas_marks() -> None:
    for text in words.instructions():
        tokens = words.encode(TOKENIZER, text)
        assert tokens[0] == TOKENIZER.token_to_id("<bos>") == 2
        assert tokens[-1] == TOKENIZER.token_to_id("\n")
        assert len(tokens) <= 8
        assert TOKENIZER.token_to_id("<unk>") not in tokens
    assert TOKENIZER.token_to_id("<pad>") == 0


def test_unknown_words_and_letters_become_bytes_and_come_back() -> None:
    tokens = words.encode(TOKENIZER, "fetch the größte cup")
    assert TOKENIZER.token_to_id("<unk>") not in tokens
    assert "größte" in TOKENIZER.decode(tokens[1:-1], skip_special_tokens=False)


def test_colours_differ_and_the_rest_does_not() -> None:
    red, blue = (words.encode(TOKENIZER, f"grasp the {c} cup") for c in ("red", "blue"))
    assert sum(a != b for a, b in zip(red, blue, strict=True)) == 1


def test_the_runtime_reads_them_as_training_did(tmp_path: Path) -> None:
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    spec = PromptSpec("{instruction}\n", words.MAX_TOKENS, 2, 0, clean=("strip",))  # as a lerobot pi0 is exported
    prompt = PromptTokenizer(tmp_path / "tokenizer.json", spec).encode(" pick up the red cup ")
    assert prompt.tokens[prompt.mask].tolist() == words.encode(TOKENIZER, "pick up the red cup")
