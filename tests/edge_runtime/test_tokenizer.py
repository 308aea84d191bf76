"""An instruction reaches the model whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.bundle_spec import PromptSpec
from edge_runtime.errors import BundleError, InstructionError
from edge_runtime.policies.base import Prompt
from edge_runtime.tokenizer import PromptTokenizer
from tests.edge_runtime import tiny_tokenizer

SPEC = PromptSpec("{instruction}\n", 12, bos_id=2, pad_id=0, clean=("strip", "underscore", "newline"), apart=True)
"""openpi's `PaligemmaTokenizer` without a state, as pi0 has it."""
BARE = PromptSpec("{instruction}", 12, bos_id=None, pad_id=0)
ID = tiny_tokenizer.IDS


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tokenizer.write(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


@pytest.fixture
def tokenizer(path: Path) -> PromptTokenizer:
    return PromptTokenizer(path, SPEC)


def changed(path: Path, spec: PromptSpec = BARE, state_dims: int = 0, **fields: Any) -> PromptTokenizer:
    return PromptTokenizer(path, msgspec.structs.replace(spec, **fields), state_dims)


def words(prompt: Prompt) -> list[str]:
    """The tokens that count, as the tokenizer writes them; all of them stand in front, the rest is padding."""
    count = int(prompt.mask.sum())
    assert prompt.mask.tolist() == [True] * count + [False] * (len(prompt.mask) - count)
    return [tiny_tokenizer.WORDS[token] for token in prompt.tokens[:count]]


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


@pytest.mark.parametrize(
    ("clean", "said", "read"),
    [
        ((), " a_b\nC ", "▁ a <unk> b \n <unk> ▁"),
        (("strip",), " \n a_b\nC \n", "a <unk> b \n <unk>"),
        (("underscore",), " a_b\nC ", "▁ a ▁ b \n <unk> ▁"),
        (("newline",), " a_b\nC ", "▁ a <unk> b ▁ <unk> ▁"),
        (("lower",), " a_b\nC ", "▁ a <unk> b \n c ▁"),
        (("lower", "strip", "underscore", "newline"), "\nA_B\nC\n", "a ▁ b ▁ c"),
        (("strip", "newline"), "\na\n", "a"),
        (("newline", "strip"), "\na\n", "a"),
        (("strip", "underscore"), "_a_", "▁ a ▁"),  # as openpi: what becomes a space afterwards stays
        (("underscore", "strip"), "_a_", "a"),
    ],
)
def test_an_instruction_is_cleaned_by_these_steps_in_this_order(
    path: Path, clean: tuple[str, ...], said: str, read: str
) -> None:
    prompt = changed(path, clean=clean).encode(said)
    assert [word if word != "\n" else "\\n" for word in words(prompt)] == read.replace("\n", "\\n").split(" ")
    assert prompt.instruction == said


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


@pytest.mark.parametrize(("apart", "read"), [(True, ["a", "▁", "\n"]), (False, ["a", "▁\n"])])
def test_what_stands_behind_is_tokenized_for_itself_or_not(path: Path, apart: bool, read: list[str]) -> None:
    assert words(changed(path, template="{instruction}\n", apart=apart).encode("a ")) == read


@pytest.mark.parametrize("apart", [True, False])
def test_what_stands_before_is_tokenized_with_it(path: Path, apart: bool) -> None:
    assert words(changed(path, template="u{instruction}", apart=apart).encode("p")) == ["up"]


def test_words_around_the_instruction(path: Path) -> None:
    spec = PromptSpec("task: {instruction}\n", 12, None, 0)
    wanted = [ID[c] for c in ("t", "a", "s", "k", ":", "▁", "up", "\n")]
    assert PromptTokenizer(path, spec).encode("up").tokens[:8].tolist() == wanted


def test_words_in_braces_that_a_person_says_are_words(path: Path) -> None:
    """Only the template's own {instruction} and {state} are places; this tokenizer knows no braces."""
    told = changed(path, template="{instruction};{state}", max_tokens=40, state_dims=1).encode("{state}")
    assert words(told) == ["<unk>", *"state", "<unk>", ";", *"255"]


@pytest.mark.parametrize("apart", [True, False])
def test_a_mark_that_a_person_says_is_letters(path: Path, apart: bool) -> None:
    """Whoever gives the instruction does not end the prompt, nor put a picture into it."""
    told = changed(path, template="{instruction};", apart=apart).encode("a<eos>")
    assert words(told) == ["a", "<unk>", *"eos", "<unk>", ";"]


def test_the_longest_fits_and_one_more_is_refused_with_both_numbers(tokenizer: PromptTokenizer) -> None:
    assert tokenizer.encode("a" * 10).mask.all()
    with pytest.raises(InstructionError, match="has 13 tokens, this policy takes 12: shorten it") as caught:
        tokenizer.encode("a" * 11)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("said", ["", "  \n ", "_"])
def test_nothing_said(tokenizer: PromptTokenizer, said: str) -> None:
    with pytest.raises(InstructionError, match="the instruction is empty"):
        tokenizer.encode(said)


@pytest.mark.parametrize("said", ["", "  \n "])
def test_nothing_said_is_nothing_without_cleaning_too(path: Path, said: str) -> None:
    with pytest.raises(InstructionError, match="the instruction is empty"):
        changed(path).encode(said)


def test_what_is_no_text(tokenizer: PromptTokenizer) -> None:
    """As a shell hands over bytes that are not UTF-8."""
    with pytest.raises(InstructionError, match=r"^character 4 of the instruction is no text"):
        tokenizer.encode("go \udce9 up")


def test_a_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(BundleError, match=r"tokenizer\.json: not a tokenizer"):
        PromptTokenizer(tmp_path / "tokenizer.json", SPEC)


# ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_end_is_appended_where_it_is_absent(path: Path) -> None:
    end = ID[":"]
    tokenizer = changed(path, end_id=end, max_tokens=4)
    assert words(tokenizer.encode("up")) == ["up", ":"]
    assert words(tokenizer.encode("up:")) == ["up", ":"]
    assert words(tokenizer.encode(":up")) == [":", "up", ":"]
    assert words(tokenizer.encode("abc")) == ["a", "b", "c", ":"]
    assert words(tokenizer.encode("abc:")) == ["a", "b", "c", ":"]
    with pytest.raises(InstructionError, match="has 5 tokens, this policy takes 4"):
        tokenizer.encode("abcd")


# ── the state in words ──────────────────────────────────────────────────────────────────────────────────────────────

PI05 = PromptSpec(
    "task: {instruction}, state: {state};\n", 60, 2, 0, clean=("strip", "underscore", "newline"), apart=False
)
"""openpi's `PaligemmaTokenizer` with a state, as pi0.5 has it (in small letters)."""


def state_in_words(path: Path, *state: float) -> str:
    tokenizer = PromptTokenizer(path, PI05, len(state))
    said = "".join(words(tokenizer.with_state(tokenizer.encode("go"), np.array(state)))).replace("▁", " ")
    return said.removeprefix("<bos>task: go, state: ").removesuffix(";\n")


def test_the_state_is_told_as_bins_of_the_interval_as_the_references_do(path: Path) -> None:
    assert state_in_words(path, -1.0, 0.0, 1.0) == "0 128 255"
    assert state_in_words(path, -1.0001, -70.0, 70.0) == "-1 -1 255"
    step = 2.0 / 256
    assert state_in_words(path, -1.0 + step, np.nextafter(-1.0 + step, -1.0), 1.0 - step) == "1 0 255"
    assert state_in_words(path, np.nextafter(1.0 - step, 0.0), -0.0, np.nextafter(0.0, -1.0)) == "254 128 127"


@given(st.lists(st.floats(-3.0, 3.0, width=32), min_size=1, max_size=6))
def test_any_state_is_told_as_openpi_tells_it(path: Path, state: list[float]) -> None:
    """`np.digitize(state, bins=np.linspace(-1, 1, 256 + 1)[:-1]) - 1`, with spaces between."""
    bins = np.digitize(np.array(state), bins=np.linspace(-1, 1, 256 + 1)[:-1]) - 1
    assert state_in_words(path, *state) == " ".join(map(str, bins))


def test_room_for_the_longest_state_is_kept_from_the_start(path: Path) -> None:
    """<bos>, what the template says, and three digits a dimension, whatever the state then is."""
    most = len("task: , state: ;\n") + 1 + 3 * 2 + 1
    tokenizer = changed(path, PI05, 2, max_tokens=most + 3)
    prompt = tokenizer.encode("abc")
    assert prompt.mask.all()
    for state in ([-9.0, -9.0], [0.0, 1.0], [-1.0, 9.0]):
        told = tokenizer.with_state(prompt, np.array(state))
        assert told.instruction == "abc"
        assert told.mask.sum() <= most + 3
    with pytest.raises(InstructionError, match=f"has {most + 4} tokens, this policy takes {most + 3}"):
        tokenizer.encode("abcd")


def test_the_state_is_told_anew_each_time(path: Path) -> None:
    tokenizer = PromptTokenizer(path, PI05, 1)
    prompt = tokenizer.encode("go")
    first, second = (tokenizer.with_state(prompt, np.array([x])) for x in (-1.0, 1.0))
    assert words(first) != words(second)
    assert words(tokenizer.with_state(second, np.array([-1.0]))) == words(first)


def test_a_prompt_that_tells_no_state_is_left_alone(path: Path, tokenizer: PromptTokenizer) -> None:
    prompt = tokenizer.encode("go")
    assert tokenizer.with_state(prompt, np.zeros(3)) is prompt
    given_tokens = PromptTokenizer(path, PI05, 1).from_tokens(np.array([7]), np.array([True]))
    assert PromptTokenizer(path, PI05, 1).with_state(given_tokens, np.zeros(1)) is given_tokens


# ── tokens that somebody else made ──────────────────────────────────────────────────────────────────────────────────


def test_tokens_that_do_not_count_are_left_out(path: Path) -> None:
    tokens, mask = np.array([2, 9, 7, 9, 0], np.int32), np.array([True, False, True, True, False])
    prompt = changed(path, SPEC, max_tokens=4).from_tokens(tokens, mask)
    assert prompt.tokens.tolist() == [2, 7, 9, 0]
    assert prompt.mask.tolist() == [True, True, True, False]
    assert (prompt.tokens.dtype, prompt.mask.dtype) == (np.int64, np.bool_)
    assert prompt.instruction == ""


def test_tokens_are_not_cleaned_and_no_bos_is_put_before_them(path: Path) -> None:
    ids = np.array([ID["▁"], ID["a"]])
    assert words(changed(path, SPEC).from_tokens(ids, np.ones(2, bool))) == ["▁", "a"]


def test_tokens_get_the_end_that_they_lack(path: Path) -> None:
    tokenizer = changed(path, end_id=9)
    for ids in ([7], [7, 9]):
        assert tokenizer.from_tokens(np.array(ids), np.ones(len(ids), bool)).tokens[:3].tolist() == [7, 9, 0]


@pytest.mark.parametrize("shapes", [((3,), (2,)), ((1, 3), (1, 3)), ((), ())])
def test_tokens_and_mask_are_two_rows_of_one_length(path: Path, shapes: tuple[tuple[int, ...], ...]) -> None:
    tokens, mask = np.zeros(shapes[0], np.int64), np.ones(shapes[1], bool)
    with pytest.raises(InstructionError) as caught:
        changed(path).from_tokens(tokens, mask)
    assert str(caught.value) == f"tokens are {list(shapes[0])} and their mask {list(shapes[1])}, expected [n]"


def test_too_many_tokens_are_refused_unless_they_do_not_count(path: Path) -> None:
    tokenizer, ids = changed(path, max_tokens=4), np.arange(6)
    assert tokenizer.from_tokens(ids, ids < 4).mask.all()
    with pytest.raises(InstructionError, match="has 5 tokens, this policy takes 4"):
        tokenizer.from_tokens(ids, ids < 5)


def test_a_mask_that_leaves_nothing(tokenizer: PromptTokenizer) -> None:
    with pytest.raises(InstructionError, match="the mask leaves no token"):
        tokenizer.from_tokens(np.array([5, 6]), np.array([False, False]))
