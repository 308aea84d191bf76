"""An instruction reaches the model whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.bundle import PromptSpec
from edge_runtime.errors import BundleError, InstructionError
from edge_runtime.tokenizer import PromptTokenizer
from tests.edge_runtime import tiny_tokenizer

SPEC = PromptSpec("{instruction}\n", max_tokens=12, bos_id=2, pad_id=0)
ID = tiny_tokenizer.IDS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tiny_tokenizer.write(tmp_path / "tokenizer.json")


@pytest.fixture
def tokenizer(path: Path) -> PromptTokenizer:
    return PromptTokenizer(path, SPEC)


def test_bos_the_instruction_and_a_newline_of_its_own(tokenizer: PromptTokenizer) -> None:
    prompt = tokenizer.encode("go up")
    wanted = [2, ID["g"], ID["o"], ID["▁"], ID["up"], ID["\n"]]
    assert prompt.tokens.tolist() == wanted + [0] * 6
    assert prompt.mask.tolist() == [True] * 6 + [False] * 6
    assert prompt.tokens.dtype == "int64"
    assert prompt.instruction == "go up"


@pytest.mark.parametrize("said", ["  go up \n", "go_up", "go\nup"])
def test_what_is_cleaned(tokenizer: PromptTokenizer, said: str) -> None:
    assert tokenizer.encode(said).tokens.tolist() == tokenizer.encode("go up").tokens.tolist()


def test_the_newline_never_melts_into_the_instruction(path: Path) -> None:
    """This tokenizer has a word for space and newline together; pi0 was trained without such."""
    spec = PromptSpec("{instruction} \n", 12, 2, 0)
    assert PromptTokenizer(path, spec).encode("a").tokens[:3].tolist() == [2, ID["a"], ID["▁\n"]]
    assert PromptTokenizer(path, SPEC).encode("a_ b").tokens[:6].tolist() == [
        2,
        ID["a"],
        ID["▁"],
        ID["▁"],
        ID["b"],
        ID["\n"],
    ]


def test_words_around_the_instruction(path: Path) -> None:
    spec = PromptSpec("task: {instruction}\n", 12, None, 0)
    wanted = [ID[c] for c in ("t", "a", "s", "k", ":", "▁", "up", "\n")]
    assert PromptTokenizer(path, spec).encode("up").tokens[:8].tolist() == wanted


def test_the_longest_fits_and_one_more_is_refused_with_both_numbers(tokenizer: PromptTokenizer) -> None:
    assert tokenizer.encode("a" * 10).mask.all()
    with pytest.raises(InstructionError, match="has 13 tokens, this policy takes 12: shorten it") as caught:
        tokenizer.encode("a" * 11)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("said", ["", "  \n ", "_"])
def test_nothing_said(tokenizer: PromptTokenizer, said: str) -> None:
    with pytest.raises(InstructionError, match="the instruction is empty"):
        tokenizer.encode(said)


def test_what_is_no_text(tokenizer: PromptTokenizer) -> None:
    """As a shell hands over bytes that are not UTF-8."""
    with pytest.raises(InstructionError, match=r"^character 4 of the instruction is no text"):
        tokenizer.encode("go \udce9 up")


def test_a_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(BundleError, match=r"tokenizer\.json: not a tokenizer"):
        PromptTokenizer(tmp_path / "tokenizer.json", SPEC)
