"""The token policy over graphs of pure arithmetic: what stands in the cache when a token is fed, what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_runtime.backends.base import Backend, Feeds, Graph
from edge_runtime.backends.ort import Engine
from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import TokenSpec
from edge_runtime.errors import BundleError, MalformedTokens
from edge_runtime.policies.base import Observation, Prompt
from edge_runtime.policies.runners import runner
from edge_runtime.policies.tokens import Runner
from edge_runtime.policy import open_policy
from tests.edge_runtime.memory import growth
from tests.edge_runtime.policies import token_bundle
from tests.edge_runtime.policies.token_bundle import DIMS, HORIZON, ID

Array = np.ndarray[Any, Any]
Buffers = dict[str, Array]
DEPTH, HEADS, PREFIX, WIDTH = 2, 1, 5, 3
MASK = [[True, True, False, True, True]]
PREFIX_KEY = 0.25


class Spoken(Graph):
    """A graph in place: `compute` is given its inputs, those that are fed too, and its outputs."""

    def __init__(self, inputs: Buffers, outputs: Buffers, compute: Callable[[Buffers, Buffers], None]) -> None:
        self.inputs, self.outputs, self._compute = inputs, outputs, compute
        self.fed: Buffers = {}

    def run(self) -> None:
        self._compute({**self.inputs, **self.fed}, dict(self.outputs))


class Model(Backend):
    """Writes the tokens it is told to, whatever it sees; `fed` is what the decode graph was given, run by run.

    A token's new keys are the token itself, its new values the negative of it. `change` spoils a graph's buffers.
    """

    def __init__(
        self,
        head: TokenSpec,
        token_ids: Sequence[int],
        says: Sequence[int],
        change: Mapping[str, Buffers] | None = None,
    ) -> None:
        super().__init__()
        self.says = list(says)
        self.fed: list[Buffers] = []
        self.loud = 1.0
        self._ids, self._length, self._change = list(token_ids), PREFIX + head.max_new, change or {}

    def load(self, path: Path, feeds: Feeds | None = None, inner: Collection[str] = ()) -> Spoken:
        f, b, cache = np.float32, np.bool_, (DEPTH, 1, HEADS, self._length, WIDTH)
        one, logits = (DEPTH, 1, HEADS, 1, WIDTH), {"logits": np.zeros((1, len(self._ids)), f)}
        text = {"tokens": np.zeros((1, 4), np.int64), "token_mask": np.zeros((1, 4), b)}
        whole = {"keys": np.zeros(cache, f), "values": np.zeros(cache, f), "prefix_mask": np.zeros((1, PREFIX), b)}
        step = {"token": np.zeros((1, 1), np.int64), "cache_mask": np.zeros((1, self._length), b)}
        new = {"new_keys": np.zeros(one, f), "new_values": np.zeros(one, f)}
        inputs, outputs, compute = {
            "image": ({"image.base": np.zeros((2, 2, 3), np.uint8)}, {"pixels": np.zeros((1, 1), f)}, _nothing),
            "prefill": (text, {**logits, **whole}, self._prefill),
            "decode": (step, {**logits, **new}, self._decode),
        }[path.stem]
        for name, buffer in self._change.get(path.stem, {}).items():
            (inputs if name in inputs else outputs)[name] = buffer
        graph = Spoken(inputs, outputs, compute)
        graph.fed = {name: source.outputs[output] for name, (source, output) in (feeds or {}).items()}
        return graph

    def _prefill(self, given: Buffers, out: Buffers) -> None:
        for name in ("keys", "values"):
            out[name][:] = 0.0
            out[name][:, :, :, :PREFIX] = PREFIX_KEY
        out["prefix_mask"][:] = MASK
        self.fed.clear()
        self._say(0, out)

    def _decode(self, given: Buffers, out: Buffers) -> None:
        self.fed.append({name: buffer.copy() for name, buffer in given.items()})
        out["new_keys"][:], out["new_values"][:] = given["token"][0, 0], -given["token"][0, 0]
        self._say(len(self.fed), out)

    def _say(self, place: int, out: Buffers) -> None:
        out["logits"][:] = -1.0
        out["logits"][0, self._ids.index(self.says[place])] = self.loud


def _nothing(given: Buffers, out: Buffers) -> None:
    pass


def observation() -> Observation:
    prompt = Prompt("", np.array([3, 4, 0, 0], np.int64), np.array([True, True, False, False]))
    return Observation({"base": np.zeros((2, 2, 3), np.uint8)}, np.zeros(2, np.float32), prompt)


def infer(subject: Runner) -> Array:
    chunk = np.full((HORIZON, DIMS), np.nan, np.float32)
    subject.infer(observation(), chunk)
    return chunk


def bins_model(bundle: Bundle, says: Sequence[int], **more: Any) -> Model:
    head = bundle.spec.head
    assert isinstance(head, TokenSpec)
    return Model(head, range(100, 105), says, **more)


SIX = [104, 102, 100, 104, 101, 103]


@pytest.fixture
def bins(tmp_path: Path) -> Bundle:
    return token_bundle.bins(tmp_path / "b")


@pytest.fixture
def fast(tmp_path: Path) -> Bundle:
    return token_bundle.fast(tmp_path / "b", max_new=12)


def fast_model(bundle: Bundle, says: Sequence[int]) -> Model:
    head = bundle.spec.head
    assert isinstance(head, TokenSpec)
    return Model(head, range(token_bundle.TOP + 1), says)


def fast_words(*coefficients: int) -> list[int]:
    text = "".join(chr(c - token_bundle.MIN_TOKEN) for c in coefficients)
    ids = token_bundle.fast_tokenizer().encode(text).ids
    return [*token_bundle.FAST.prefix, *(token_bundle.TOP - i for i in ids), token_bundle.FAST.stop]


def test_what_it_writes_becomes_actions_in_the_robots_units(bins: Bundle) -> None:
    subject = Runner(bins, bins_model(bins, SIX))
    chunk = infer(subject)
    assert subject.normalised.tolist() == [[1, 0], [-1, 1], [-0.5, 0.5]]
    np.testing.assert_allclose(chunk, subject.normalised * [10.0, 100.0] + [1.0, 2.0])
    assert subject.tokens.tolist() == SIX
    assert subject.tokens.dtype == np.int64
    assert subject.count == 6
    assert not subject.terminated


def test_each_token_is_fed_with_all_before_it_in_the_cache(bins: Bundle) -> None:
    """Slot PREFIX + k holds the k-th generated token's keys, and counts from the run behind the one it was fed to."""
    model = bins_model(bins, SIX)
    subject = Runner(bins, model)
    infer(subject)
    infer(subject)
    assert [int(seen["token"][0, 0]) for seen in model.fed] == SIX[:-1]  # the last one leads to nothing more
    for k, seen in enumerate(model.fed):
        assert seen["cache_mask"].tolist() == [MASK[0] + [i < k for i in range(6)]]
        for name, sign in (("keys", 1), ("values", -1)):
            slots = [PREFIX_KEY] * PREFIX + [sign * token for token in SIX[:k]] + [0] * (6 - k)
            wanted = np.broadcast_to(np.array(slots)[:, None], (DEPTH, 1, HEADS, PREFIX + 6, WIDTH))
            np.testing.assert_array_equal(seen[name], wanted)


def test_the_cache_is_the_prefill_graphs_own_memory(bins: Bundle) -> None:
    subject = Runner(bins, bins_model(bins, SIX))
    for name in ("keys", "values"):
        assert subject.graphs["decode"].fed[name] is subject.graphs["prefill"].outputs[name]  # type: ignore[attr-defined]


def test_of_equal_logits_the_first_is_taken(bins: Bundle) -> None:
    model = bins_model(bins, SIX)
    model.loud = -1.0
    subject = Runner(bins, model)
    infer(subject)
    assert subject.tokens.tolist() == [100] * 6


def test_every_run_of_a_graph_is_watched(bins: Bundle) -> None:
    subject, seen = Runner(bins, bins_model(bins, SIX)), list[str]()
    subject.watch = lambda name, graph: seen.append(name)
    infer(subject)
    assert seen == ["image", "prefill", *["decode"] * 5]


def test_it_stops_at_the_stop(fast: Bundle) -> None:
    words = fast_words(10, -20, 0, 0, 0, 0)
    model = fast_model(fast, words)
    subject = Runner(fast, model)
    infer(subject)
    infer(subject)
    assert subject.tokens.tolist() == words + [0] * (12 - len(words))
    assert subject.count == len(words)
    assert len(model.fed) == len(words) - 1
    np.testing.assert_allclose(subject.normalised, [[1 / 3**0.5, -2 / 3**0.5]] * 3, rtol=1e-6)


def test_a_shorter_sequence_leaves_nothing_of_a_longer_one(fast: Bundle) -> None:
    model = fast_model(fast, fast_words(1, 2, 3, 4, 5, 6))
    subject = Runner(fast, model, "pad")
    infer(subject)
    model.says = [ID["|"]]
    infer(subject)
    assert subject.tokens.tolist() == [ID["|"]] + [0] * 11
    assert (subject.normalised == 0).all()


def test_it_stops_at_the_first_token_if_that_is_the_stop(fast: Bundle) -> None:
    model = fast_model(fast, [ID["|"]])
    subject = Runner(fast, model)
    with pytest.raises(MalformedTokens):
        infer(subject)
    assert (subject.count, model.fed) == (1, [])


def test_it_stops_where_there_is_no_more_room(fast: Bundle) -> None:
    model = fast_model(fast, [ID["9"]] * 13)
    subject = Runner(fast, model)
    with pytest.raises(MalformedTokens, match=r"^begins with the tokens \[12, 12, 12\], expected"):
        infer(subject)
    assert (subject.count, len(model.fed)) == (12, 11)


def test_one_token_is_no_run_of_the_decode_graph(tmp_path: Path) -> None:
    joint = msgspec.structs.replace(token_bundle.JOINTS, names=("a",), units=("rad",), padded=1)
    table = {"token_ids": 100 + np.arange(5), "values": np.linspace(-1, 1, 5, dtype=np.float32)}
    one = msgspec.structs.replace(token_bundle.MANIFEST.spec.action_normalisation, kind="none", a=(), b=())
    head = TokenSpec(1, token_bundle.BINS)
    made = token_bundle.write(tmp_path / "b", head, table, action=joint, horizon=1, action_normalisation=one)
    model = bins_model(made, [103])
    subject, chunk = Runner(made, model), np.zeros((1, 1), np.float32)
    subject.infer(observation(), chunk)
    assert chunk.tolist() == [[0.5]]
    assert model.fed == []


# ── what means nothing ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_malformed_sequence_is_raised_and_counted(fast: Bundle) -> None:
    subject = Runner(fast, fast_model(fast, fast_words(1, 2, 3)))
    chunk = np.full((HORIZON, DIMS), 7.0, np.float32)
    for count in (1, 2):
        with pytest.raises(MalformedTokens, match=r"^3 FAST coefficients, expected 3 × 2 = 6$"):
            subject.infer(observation(), chunk)
        assert subject.malformed == count
    assert (chunk == 7.0).all()
    assert subject.tokens.tolist() == [*fast_words(1, 2, 3), *[0] * (12 - len(fast_words(1, 2, 3)))]


def test_or_it_is_padded_and_counted(fast: Bundle) -> None:
    subject = Runner(fast, fast_model(fast, fast_words(30, -30)), "pad")
    infer(subject)
    np.testing.assert_allclose(subject.normalised, [[3 / 3**0.5, -3 / 3**0.5]] * 3, rtol=1e-6)
    assert subject.malformed == 1


@pytest.mark.parametrize("asked", ["", "fault", "pad"])
@pytest.mark.parametrize("says", ["fault", "pad"])
def test_the_bundle_says_which_unless_the_robot_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, asked: str
) -> None:
    made = token_bundle.fast(tmp_path / "b", max_new=12, on_malformed=says)
    model = fast_model(made, fast_words(1))
    monkeypatch.setattr("edge_runtime.policy.plugins.load", lambda *_: SimpleNamespace(Engine=lambda threads: model))
    for subject in (runner(made, model, on_malformed=asked), open_policy(made.path, on_malformed=asked)):
        if (asked or says) == "fault":
            with pytest.raises(MalformedTokens):
                infer(subject)
        else:
            infer(subject)


@pytest.mark.parametrize("mode", ["fault", "pad"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_mean_nothing_in_either_way(bins: Bundle, mode: str, bad: float) -> None:
    model = bins_model(bins, SIX)
    subject = Runner(bins, model, mode)  # type: ignore[arg-type]
    subject.watch = lambda name, graph: setattr(model, "loud", bad if len(model.fed) == 2 else 1.0)
    with pytest.raises(MalformedTokens, match=r"^the logits are not finite$"):
        infer(subject)
    assert subject.malformed == 1
    assert subject.count == 3


def test_the_task_is_done_when_the_model_says_so(tmp_path: Path) -> None:
    made = token_bundle.bins(tmp_path, msgspec.structs.replace(token_bundle.BINS, terminate=True))
    nine = [100, 104, 104] * 3
    model = bins_model(made, nine)
    subject = Runner(made, model)
    infer(subject)
    assert not subject.terminated
    model.says = [101, *nine[1:]]
    infer(subject)
    assert subject.terminated
    subject.watch = lambda name, graph: setattr(model, "loud", np.nan)
    with pytest.raises(MalformedTokens):
        infer(subject)
    assert not subject.terminated


# ── graphs and memory ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("component", "buffers", "words"),
    [
        ("decode", {"token": np.zeros((1, 1), np.int32)}, r"decode\.onnx: input token is "),
        ("decode", {"cache_mask": np.zeros((1, 9), np.bool_)}, r"decode\.onnx: input cache_mask is "),
        ("decode", {"logits": np.zeros((1, 4), np.float32)}, r"logits is float32 \[1, 4\], expected float32 \[1, 5\]"),
        ("prefill", {"logits": np.zeros((1, 5), np.float16)}, r"prefill\.onnx: output logits is float16 \[1, 5\]"),
        ("decode", {"new_keys": np.zeros((2, 1, 1, 1, 4), np.float32)}, r"decode\.onnx: output new_keys is "),
        ("decode", {"new_values": np.zeros((2, 1, 1, 1, 3), np.float16)}, r"decode\.onnx: output new_values is "),
        ("prefill", {"keys": np.zeros((2, 1, 1, 10, 3), np.float32)}, r"output keys is .*, expected 11 slots"),
        ("prefill", {"prefix_mask": np.zeros((1, 5), np.float32)}, r"output prefix_mask is float32 \[1, 5\]"),
    ],
)
def test_graphs_that_do_not_fit_together(bins: Bundle, component: str, buffers: Buffers, words: str) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        Runner(bins, bins_model(bins, SIX, change={component: buffers}))
    assert "\n" not in str(caught.value)


def leaves_nothing_behind(subject: Runner) -> None:
    chunk, seen = np.empty((HORIZON, DIMS), np.float32), observation()
    assert growth(lambda: subject.infer(seen, chunk)) < 500


def test_an_inference_of_bins_leaves_nothing_behind(bins: Bundle) -> None:
    leaves_nothing_behind(Runner(bins, bins_model(bins, SIX)))


def write_real_graphs(bundle: Bundle) -> None:
    """ONNX: the next bin is (token fed + sum of the keys and values that the mask shows) modulo 5, without its sign."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    from tests.edge_runtime.backends.contract import BOOL, FLOAT, INT64, UINT8, node, write

    def constant(value: Array, out: str) -> Any:
        return node("Constant", out=out, value=onnx.numpy_helper.from_array(value))

    f, cache, one, logits = np.float32, (FLOAT, [1, 1, 1, 11, 1]), (FLOAT, [1, 1, 1, 1, 1]), (FLOAT, [1, 5])
    slots = np.zeros((1, 1, 1, 11, 1), f)
    slots[0, 0, 0, :5, 0] = [1, 2, 50, 3, 4]
    frame = (UINT8, [2, 2, 3]), (FLOAT, [2, 2, 3])
    write(
        bundle.graph("image"),
        [node("Cast", "image.base", out="pixels", to=FLOAT)],
        {"image.base": frame[0]},
        {"pixels": frame[1]},
    )
    write(
        bundle.graph("prefill"),
        [
            constant(np.array([[0, 0, 0, 1, 0]], f), "logits"),
            constant(slots, "keys"),
            constant(slots, "values"),
            constant(np.array(MASK), "prefix_mask"),
        ],
        {"pixels": frame[1], "tokens": (INT64, [1, 4]), "token_mask": (BOOL, [1, 4])},
        {"logits": logits, "keys": cache, "values": cache, "prefix_mask": (BOOL, [1, 5])},
    )
    write(
        bundle.graph("decode"),
        [
            constant(np.array([1, 1, 1, 11, 1]), "as_cache"),
            constant(np.array([1, 1, 1, 1, 1]), "as_one"),
            constant(np.array([1, 1]), "as_number"),
            constant(np.array([[5]], f), "five"),
            constant(np.arange(5, dtype=f)[None], "bins"),
            node("Cast", "token", out="fed", to=FLOAT),
            node("Reshape", "fed", "as_one", out="new_keys"),
            node("Neg", "new_keys", out="negative"),
            node("Mul", "negative", "new_keys", out="new_values"),
            node("Cast", "cache_mask", out="shown", to=FLOAT),
            node("Reshape", "shown", "as_cache", out="mask"),
            node("Add", "keys", "values", out="both"),
            node("Mul", "both", "mask", out="seen"),
            node("ReduceSum", "seen", out="total", keepdims=1),
            node("Reshape", "total", "as_number", out="number"),
            node("Add", "number", "fed", out="sum"),
            node("Mod", "sum", "five", out="next", fmod=1),
            node("Abs", "next", out="bin"),
            node("Sub", "bins", "bin", out="difference"),
            node("Abs", "difference", out="distance"),
            node("Neg", "distance", out="logits"),
        ],
        {"token": (INT64, [1, 1]), "cache_mask": (BOOL, [1, 11]), "keys": cache, "values": cache},
        {"logits": logits, "new_keys": one, "new_values": one},
    )


def test_the_cache_is_shared_with_real_graphs_too(bins: Bundle) -> None:
    write_real_graphs(bins)
    subject, total, wanted = Runner(bins, Engine()), 2 * (1 + 2 + 3 + 4), [103]
    for _ in range(5):
        fed = wanted[-1]
        wanted.append(100 + abs(int(np.fmod(total + fed, 5))))
        total += fed - fed * fed
    for _ in range(2):
        infer(subject)
        assert subject.tokens.tolist() == wanted
    assert len(set(wanted)) > 2


@pytest.mark.parametrize("coefficients", [(1, 2, 3, 4, 5, 6), (1, 2)])
def test_an_inference_of_fast_leaves_nothing_behind(fast: Bundle, coefficients: tuple[int, ...]) -> None:
    leaves_nothing_behind(Runner(fast, fast_model(fast, fast_words(*coefficients)), "pad"))
