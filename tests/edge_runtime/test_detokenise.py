"""Token sequences become actions, or are said to mean none; padding is exactly what the references do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import FastScheme, TokenSpec, VectorSpec
from edge_runtime.detokenise import Detokeniser, Fast, detokeniser, inverse_dct
from edge_runtime.errors import BundleError, MalformedTokens
from tests.edge_runtime.policies import token_bundle
from tests.edge_runtime.policies.token_bundle import DIMS, FAST, HORIZON, ID, MIN_TOKEN, SCALE, TOP, WORDS

Array = np.ndarray[Any, Any]
UNTOUCHED = 7.0


def array(ids: Sequence[int]) -> Array:
    return np.array(ids, np.int64)


def decoded(subject: Detokeniser, ids: Sequence[int]) -> Array:
    out = np.full((subject.horizon, subject.dims), np.nan)
    subject.decode(array(ids), out)
    return out


def padded(subject: Detokeniser, ids: Sequence[int]) -> Array:
    out = np.full((subject.horizon, subject.dims), np.nan)
    subject.pad(array(ids), out)
    return out


def sane(subject: Detokeniser, ids: Sequence[int]) -> None:
    """Whatever the ids: finite when padded, and either the same when decoded or one line."""
    made = padded(subject, ids)
    assert np.isfinite(made).all()
    said = ""
    try:
        np.testing.assert_array_equal(decoded(subject, ids), made)
    except MalformedTokens as error:
        said = str(error)
    assert said.isprintable()


def refused(subject: Detokeniser, ids: Sequence[int], words: str) -> None:
    """One line, and the caller's actions stay as they were."""
    out = np.full((subject.horizon, subject.dims), UNTOUCHED)
    with pytest.raises(MalformedTokens, match=words) as caught:
        subject.decode(array(ids), out)
    assert str(caught.value).isprintable()
    assert (out == UNTOUCHED).all()


# ── bins ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def bins(tmp_path: Path) -> Detokeniser:
    return detokeniser(token_bundle.bins(tmp_path / "b"))


@pytest.fixture
def flagged(tmp_path: Path) -> Detokeniser:
    return detokeniser(token_bundle.bins(tmp_path / "b", msgspec.structs.replace(token_bundle.BINS, terminate=True)))


def test_each_token_is_what_its_bin_means(bins: Detokeniser) -> None:
    assert decoded(bins, [100, 101, 102, 103, 104, 100]).tolist() == [[-1, -0.5], [0, 0.5], [1, -1]]
    assert not bins.terminated


def test_actions_of_single_precision_are_written_in_place(bins: Detokeniser) -> None:
    out = np.zeros((HORIZON, DIMS), np.float32)
    bins.decode(array([104] * 6), out)
    assert (out == 1.0).all()


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([100] * 5, r"^5 action tokens, expected 3 × 2 = 6$"),
        ([100] * 7, r"^7 action tokens, expected 3 × 2 = 6$"),
        ([], r"^0 action tokens"),
        ([100, 105, 100, 100, 100, 100], r"^token 105 is no action token$"),
        ([100, -1, 100, 100, 100, 100], r"^token -1 is no action token$"),
    ],
)
def test_bins_that_are_no_chunk(bins: Detokeniser, ids: list[int], words: str) -> None:
    refused(bins, ids, words)


def test_missing_bins_are_padded_with_zero(bins: Detokeniser) -> None:
    assert padded(bins, [100, 104, 104]).tolist() == [[-1, 1], [1, 0], [0, 0]]
    assert padded(bins, [104] * 9).tolist() == [[1, 1]] * 3


@pytest.mark.parametrize(("flags", "done"), [((0, 0, 0), False), ((1, 0, 0), True), ((0, 0, 4), True)])
def test_a_flag_leads_each_action(flagged: Detokeniser, flags: tuple[int, ...], done: bool) -> None:
    ids = [token for flag in flags for token in (100 + flag, 100, 104)]
    assert decoded(flagged, ids).tolist() == [[-1, 1]] * 3
    assert flagged.terminated is done
    refused(flagged, ids[:-1], r"8 action tokens, expected 3 × 3 = 9")
    assert not flagged.terminated  # a sequence that means nothing does not mean that either


# ── integers ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def integers(tmp_path: Path) -> Detokeniser:
    return detokeniser(token_bundle.integers(tmp_path / "b"))


def spelt(text: str) -> list[int]:
    """Digit by digit, and the stop."""
    return [*(ID["▁" if c == " " else c] for c in text), ID["<eos>"]]


def test_integers_in_words(integers: Detokeniser) -> None:
    assert decoded(integers, spelt("1 20 3 127 5 0")) == pytest.approx(
        np.array([[0.01, 0.2], [0.03, 1.27], [0.05, 0.0]]), rel=1e-6
    )
    ids = [ID["▁"], ID["12"], ID["▁"], *spelt("7 0 0 0 0")]
    assert decoded(integers, ids)[0] == pytest.approx([0.12, 0.07], rel=1e-6)


def test_the_stop_need_not_be_there_and_nothing_behind_it_counts(integers: Detokeniser) -> None:
    whole = spelt("1 2 3 4 5 6")
    np.testing.assert_array_equal(decoded(integers, whole[:-1]), decoded(integers, whole))
    np.testing.assert_array_equal(decoded(integers, [*whole, ID["9"], ID["-"]]), decoded(integers, whole))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 2 3 4 5", r"^5 integers, expected 3 × 2 = 6$"),
        ("1 2 3 4 5 6 7", r"^7 integers, expected 3 × 2 = 6$"),
        ("", r"^0 integers, expected"),
        ("1 2 3 128 5 6", r"^'128' is no integer of 0 to 127$"),
        ("1 2 -3 4 5 6", r"^'-3' is no integer of 0 to 127$"),
        ("1 2\n3 4 5 6", r"^'2\\n3' is no integer"),
        ("1 2 3 4 5 " + "9" * 5000, r"^'9{20}' is no integer"),
    ],
)
def test_integers_that_are_no_chunk(integers: Detokeniser, text: str, words: str) -> None:
    refused(integers, spelt(text), words)


def test_a_special_token_or_an_unknown_one_among_the_integers(integers: Detokeniser) -> None:
    refused(integers, [ID["<pad>"], *spelt("1 2 3 4 5 6")], r"'<pad>1' is no integer")
    refused(integers, [*spelt("1 2 3 4 5 6")[:-1], len(WORDS)], rf"token {len(WORDS)} is not in the tokenizer")
    refused(integers, [1 << 40], r"token 1099511627776 is not in the tokenizer")


def test_integers_are_padded_as_far_as_they_go(integers: Detokeniser) -> None:
    def near(text: str, wanted: list[list[float]]) -> None:
        np.testing.assert_allclose(padded(integers, spelt(text)), wanted, rtol=1e-6)

    near("1 2 3", [[0.01, 0.02], [0.03, 0], [0, 0]])
    near("1 2 200 4 5 6", [[0.01, 0.02], [0, 0], [0, 0]])
    near("1 2 3 4 5 6 7", [[0.01, 0.02], [0.03, 0.04], [0.05, 0.06]])
    near("-", [[0, 0]] * 3)


def test_rt_2_says_that_it_is_done(tmp_path: Path) -> None:
    subject = detokeniser(
        token_bundle.integers(tmp_path, msgspec.structs.replace(token_bundle.INTEGERS, terminate=True))
    )
    assert decoded(subject, spelt("0 1 2 0 3 4 0 5 6"))[2] == pytest.approx([0.05, 0.06])
    assert not subject.terminated
    decoded(subject, spelt("0 1 2 1 3 4 0 5 6"))
    assert subject.terminated
    padded(subject, spelt("0 1 2 0 3"))
    assert not subject.terminated


# ── FAST ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def fast(tmp_path: Path) -> Detokeniser:
    return detokeniser(token_bundle.fast(tmp_path / "b"))


@pytest.fixture
def unforgiving(tmp_path: Path) -> Detokeniser:
    return detokeniser(token_bundle.fast(tmp_path / "b", relaxed=False))


def coefficients(actions: Array) -> Array:
    """As FAST's encoder: DCT-II over time, scaled, rounded half to even."""
    return np.around(inverse_dct(len(actions)).T @ actions * SCALE)


def of_text(text: str) -> list[int]:
    """FAST ids of coefficients that are already characters."""
    return token_bundle.fast_tokenizer().encode(text).ids


def spoken(fast_ids: Sequence[int], scheme: FastScheme = FAST, stop: bool = True) -> list[int]:
    """The whole sequence, as the model writes it."""
    return [*scheme.prefix, *(scheme.top - i for i in fast_ids), *([scheme.stop] if stop else [])]


def in_words(*values: int) -> str:
    return "".join(chr(value - MIN_TOKEN) for value in values)


def test_the_inverse_dct_by_hand() -> None:
    """n = 1: itself. n = 2: X0 = (x0 + x1)/√2, X1 = (x0 - x1)/√2. n = 5: orthonormal, and a cosine is one number."""
    assert inverse_dct(1).tolist() == [[1.0]]
    np.testing.assert_allclose(inverse_dct(2) * np.sqrt(2.0), [[1, 1], [1, -1]], atol=1e-15)
    np.testing.assert_allclose(inverse_dct(5).T @ inverse_dct(5), np.eye(5), atol=1e-15)
    wave = np.cos(np.pi * (np.arange(5) + 0.5) * 2 / 5)
    np.testing.assert_allclose(inverse_dct(5).T @ wave, [0, 0, np.sqrt(2.5), 0, 0], atol=1e-15)


def test_coefficients_stand_time_by_time(fast: Detokeniser) -> None:
    """Only the first of each dimension: constant actions of c / scale / √3."""
    actions = decoded(fast, spoken(of_text(in_words(10, -20, 0, 0, 0, 0))))
    np.testing.assert_allclose(actions, [[1 / np.sqrt(3), -2 / np.sqrt(3)]] * 3, atol=1e-15)


@given(st.lists(st.floats(-6.0, 6.0), min_size=6, max_size=6))
def test_what_is_encoded_is_decoded(values: list[float]) -> None:
    subject = Fast(token_bundle.fast_tokenizer(), FAST, HORIZON, DIMS)
    rounded = coefficients(np.array(values).reshape(HORIZON, DIMS))
    text = "".join(chr(max(int(c) - MIN_TOKEN, 0)) for c in rounded.ravel())
    kept = np.array([ord(c) + MIN_TOKEN for c in text]).reshape(HORIZON, DIMS)
    ids = spoken(of_text(text))
    np.testing.assert_allclose(decoded(subject, ids), inverse_dct(HORIZON) @ kept / SCALE, atol=1e-12)
    np.testing.assert_array_equal(padded(subject, ids), decoded(subject, ids))


@given(st.booleans(), st.booleans(), st.lists(st.one_of(st.integers(0, TOP + 2), st.integers(-(1 << 62), 1 << 62))))
def test_any_ids_are_actions_or_malformed(relaxed: bool, led: bool, ids: list[int]) -> None:
    scheme = msgspec.structs.replace(FAST, relaxed=relaxed)
    subject = Fast(token_bundle.fast_tokenizer(), scheme, HORIZON, DIMS)
    sane(subject, [*(FAST.prefix if led else ()), *ids])


@given(st.lists(st.one_of(st.integers(0, len(WORDS)), st.integers(-(1 << 62), 1 << 62)), max_size=20))
def test_any_numbers_are_actions_or_malformed(numbers_of: tuple[Detokeniser, ...], ids: list[int]) -> None:
    for subject in numbers_of:
        sane(subject, ids)


@pytest.fixture(scope="module")
def numbers_of(tmp_path_factory: pytest.TempPathFactory) -> tuple[Detokeniser, ...]:
    folder = tmp_path_factory.mktemp("numbers")
    bins = token_bundle.bins(folder / "b", token_ids=np.arange(5))
    return detokeniser(token_bundle.integers(folder / "i")), detokeniser(bins)


def test_fast_sequences_that_are_no_chunk(fast: Detokeniser) -> None:
    whole = spoken(of_text(in_words(*range(6))))
    refused(fast, whole[1:], rf"^begins with the tokens .*, expected {list(FAST.prefix)}".replace("[", r"\["))
    refused(fast, [FAST.prefix[0], FAST.stop], r"^begins with the tokens \[\d+\], expected")
    refused(fast, spoken(of_text(in_words(*range(5)))), r"^5 FAST coefficients, expected 3 × 2 = 6$")
    refused(fast, spoken(of_text(in_words(*range(7)))), r"^7 FAST coefficients, expected 3 × 2 = 6$")
    refused(fast, spoken([]), r"^0 FAST coefficients")
    refused(fast, [*FAST.prefix, *whole[:-1]], rf"^token {FAST.prefix[0]} is no FAST token$")  # "Action: " once more
    refused(fast, [*whole[:-1], TOP + 3, FAST.stop], rf"^token {TOP + 3} is no FAST token$")
    refused(fast, spoken([*of_text(in_words(*range(6))), 264]), rf"^token {TOP - 264} is no FAST token$")


def test_the_stop_of_fast_need_not_be_there_and_nothing_behind_it_counts(fast: Detokeniser) -> None:
    ids = of_text(in_words(1, 2, 3, 4, 5, 6))
    np.testing.assert_array_equal(decoded(fast, spoken(ids, stop=False)), decoded(fast, spoken(ids)))
    np.testing.assert_array_equal(decoded(fast, [*spoken(ids), 0, 5, -4]), decoded(fast, spoken(ids)))


def test_half_a_character_is_malformed_though_the_count_is_right(fast: Detokeniser) -> None:
    """The references take it for a coefficient of 65533."""
    whole = of_text("é")  # two bytes, two tokens
    assert len(whole) == 2
    ids = spoken([*of_text(in_words(0, 0, 0, 0, 0)), whole[0]])
    refused(fast, ids, r"^FAST coefficient 5 is no character: broken UTF-8$")
    assert np.abs(padded(fast, ids)).max() > 1_000


def test_a_character_of_two_tokens_is_one_coefficient(fast: Detokeniser) -> None:
    actions = decoded(fast, spoken(of_text("é" + in_words(0, 0, 0, 0, 0))))
    np.testing.assert_allclose(actions[:, 0], (ord("é") + MIN_TOKEN) / SCALE / np.sqrt(3), atol=1e-12)


def test_relaxed_padding_cuts_and_fills(fast: Detokeniser) -> None:
    """lerobot: by hand, six coefficients are 1 … 6, or 1 … 4 and then zeros."""
    six = inverse_dct(3) @ np.array([[1, 2], [3, 4], [5, 6]]) / SCALE
    four = inverse_dct(3) @ np.array([[1, 2], [3, 4], [0, 0]]) / SCALE
    eight, short = of_text(in_words(*range(1, 9))), of_text(in_words(1, 2, 3, 4))
    np.testing.assert_allclose(padded(fast, spoken(eight)), six, atol=1e-15)
    np.testing.assert_allclose(padded(fast, spoken(short)), four, atol=1e-15)
    again = [*FAST.prefix, *spoken(short)]  # every "Action: " is taken out
    np.testing.assert_allclose(padded(fast, again), four, atol=1e-15)
    skipped = [*spoken(short, stop=False), ID["9"], TOP - 270, FAST.stop]  # beyond the vocabulary: skipped
    np.testing.assert_allclose(padded(fast, skipped), four, atol=1e-15)
    assert (padded(fast, [*spoken(short, stop=False), TOP + 1, FAST.stop]) == 0).all()  # negative: it raises
    np.testing.assert_allclose(padded(fast, [*FAST.prefix[:2], *spoken(short)[3:]]), four, atol=1e-15)
    assert (padded(fast, spoken(short)[1:]) == 0).all()
    assert (padded(fast, []) == 0).all()


def test_unforgiving_padding_is_all_or_nothing(unforgiving: Detokeniser) -> None:
    """openpi: what is skipped is skipped, but then the count must be right."""
    six = of_text(in_words(1, 2, 3, 4, 5, 6))
    wanted = inverse_dct(3) @ np.array([[1, 2], [3, 4], [5, 6]]) / SCALE
    np.testing.assert_allclose(padded(unforgiving, spoken([*six, 280])), wanted, atol=1e-15)
    for ids in (spoken(six[:-1]), spoken([*six, *six]), spoken([*six, -1]), spoken(six)[2:], []):
        assert (padded(unforgiving, ids) == 0).all()


def test_padding_leaves_nothing_of_the_sequence_before(fast: Detokeniser) -> None:
    decoded(fast, spoken(of_text(in_words(9, 9, 9, 9, 9, 9))))
    assert (padded(fast, spoken([])) == 0).all()


# ── bundles ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def bundle_refused(bundle: Bundle, words: str) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        detokeniser(bundle)
    assert "\n" not in str(caught.value)


def test_bundles_whose_constants_do_not_fit(tmp_path: Path) -> None:
    bins = token_bundle.bins
    three = np.zeros(3, np.float32)
    bundle_refused(bins(tmp_path / "a", values=three), r"constants\.safetensors: 3 values for 5 token_ids")
    bundle_refused(bins(tmp_path / "b", values=np.zeros(5)), r"values is float64 \[5\], expected float32 \[n\]")
    bundle_refused(bins(tmp_path / "c", token_ids=np.zeros((5, 1), np.int64)), r"token_ids is int64 \[5, 1\]")
    bundle_refused(bins(tmp_path / "d", token_ids=np.zeros(0, np.int64)), r"token_ids is int64 \[0\]")
    bundle_refused(bins(tmp_path / "e", token_ids=np.array([1, 2, 3, 2, 5])), r"token_ids names a token twice")
    nothing = token_bundle.write(tmp_path / "f", TokenSpec(6, token_bundle.BINS), {})
    bundle_refused(nothing, r"constants\.safetensors: token_ids is missing")


def test_a_head_that_cannot_write_what_the_scheme_needs(tmp_path: Path) -> None:
    few = {"token_ids": np.arange(ID["|"]), "values": np.zeros(5, np.float32)}
    made = token_bundle.write(tmp_path / "a", TokenSpec(6, FAST), few, token_bundle.fast_tokenizer())
    bundle_refused(made, rf"the head cannot write token {ID['|']}; export the bundle again")
    no_stop = {"token_ids": np.arange(5) + 2, "values": np.zeros(5, np.float32)}
    made = token_bundle.write(tmp_path / "b", TokenSpec(6, token_bundle.INTEGERS), no_stop)
    bundle_refused(made, rf"the head cannot write token {ID['<eos>']}")


def test_fast_tokenizers_that_cannot_be_read(tmp_path: Path) -> None:
    head, ids = TokenSpec(6, FAST), {"token_ids": np.arange(TOP + 1)}
    with pytest.raises(
        BundleError, match=r"scheme\.tokenizer names 'fast_tokenizer\.json', which is not among its files"
    ):
        token_bundle.write(tmp_path / "a", head, ids)
    junk = tmp_path / "junk"
    junk.write_text("{}")
    bundle_refused(token_bundle.write(tmp_path / "b", head, ids, junk), r"fast_tokenizer\.json: not a tokenizer")


# ── against the references ──────────────────────────────────────────────────────────────────────────────────────────


class Golden:
    """The reference run of lerobot's pi0-FAST; ids of its cases are FAST ids."""

    def __init__(self, folder: Path, made: Path) -> None:
        config = json.loads((folder / "fast_tokenizer" / "processor_config.json").read_text())
        self.io = load_file(folder / "io.safetensors")
        dims = json.loads((folder / "dims.json").read_text())
        self.horizon, self.dims = dims["chunk"], dims["action_dim"]
        self.scheme = FastScheme(
            "fast_tokenizer.json",
            (395, 396, 302),
            397,
            dims["vocab"] - 1 - dims["skip"],
            config["min_token"],
            config["scale"],
            True,
        )
        self._source, self._made = folder / "fast_tokenizer" / "tokenizer.json", made

    def detokeniser(self, relaxed: bool) -> Detokeniser:
        scheme = msgspec.structs.replace(self.scheme, relaxed=relaxed)
        joints = VectorSpec(tuple("abcd"), ("",) * 4, 4)
        bundle = token_bundle.write(
            self._made / str(relaxed),
            TokenSpec(48, scheme),
            {"token_ids": np.arange(616)},
            self._source,
            action=joints,
            horizon=self.horizon,
            action_normalisation=msgspec.structs.replace(token_bundle.MANIFEST.spec.state_normalisation),
        )
        return detokeniser(bundle)


@pytest.fixture(scope="module")
def golden(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    folder = shared / "golden" / "a" / "pi0_fast_lerobot"
    if not folder.is_dir():
        pytest.skip(f"no golden set: {folder} is not there")
    return Golden(folder, tmp_path_factory.mktemp("golden"))


CASES = ("ok", "short", "long", "empty", "out_of_vocab", "negative", "bytes")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["strict", "relaxed"])
def test_padding_is_the_references(golden: Golden, case: str, kind: str) -> None:
    ids = spoken(golden.io[f"fast.dec.{case}.ids"].tolist(), golden.scheme)
    made = padded(golden.detokeniser(kind == "relaxed"), ids)
    np.testing.assert_allclose(made, golden.io[f"fast.dec.{case}.{kind}"], atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_what_the_reference_zeroes_or_skips_is_malformed(golden: Golden, case: str) -> None:
    """`out_of_vocab` alone is not all zeros there: the id was skipped and the count was right by chance."""
    subject, strict = golden.detokeniser(True), golden.io[f"fast.dec.{case}.strict"]
    ids = spoken(golden.io[f"fast.dec.{case}.ids"].tolist(), golden.scheme)
    if case == "ok":
        np.testing.assert_allclose(decoded(subject, ids), strict, atol=1e-12)
        return
    assert case == "out_of_vocab" or not strict.any()
    expected = (
        r"is no FAST token$" if case in ("out_of_vocab", "negative") else r"FAST coefficients, expected 8 × 4 = 32$"
    )
    refused(subject, ids, expected)


def test_encoded_actions_and_a_generated_sequence(golden: Golden) -> None:
    subject, io = golden.detokeniser(True), golden.io
    for ids, rounded in zip(io["fast.enc.ids"], io["fast.enc.dct_rounded"], strict=True):
        wanted = inverse_dct(golden.horizon) @ np.maximum(rounded, golden.scheme.min_token) / golden.scheme.scale
        np.testing.assert_allclose(decoded(subject, spoken(ids[ids >= 0].tolist(), golden.scheme)), wanted, atol=1e-12)
    generated = io["out.token_ids"][0, : int(io["out.num_generated"][0])]
    np.testing.assert_allclose(decoded(subject, generated.tolist()), io["out.action_norm"][0], atol=1e-6)
