"""Action tokens become normalised actions: bins, integers in words (RT-2) and FAST.

A sequence that means no action is said to be so, in one line. What the references make of it instead (they cut, fill,
skip and zero silently) is `pad`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from edge_runtime.bundle import Bundle
from edge_runtime.bundle_spec import BinScheme, FastScheme, IntegerScheme, TokenSpec
from edge_runtime.errors import BundleError, MalformedTokens
from edge_runtime.policies.base import Floats
from edge_runtime.policies.graph_policy import constants

Ids = NDArray[np.int64]

_BROKEN = "\ufffd"
"""What bytes that are no UTF-8 decode to."""
_U32 = 1 << 32
"""The `tokenizers` library counts in 32 bits and raises for any other number."""
_LONGEST_INTEGER = 9
_SHOWN = 20


class Detokeniser(ABC):
    """Generated ids [n] → normalised actions [horizon, dims], written into `out`, of either width of float.

    What stands behind the first `stop` counts for nothing. `terminated`: the last sequence said that the task is done.
    """

    def __init__(self, horizon: int, dims: int, stop: int | None) -> None:
        self.horizon, self.dims, self.stop = horizon, dims, stop
        self.terminated = False

    @abstractmethod
    def decode(self, ids: Ids, out: NDArray[Any]) -> None:
        """Raise `MalformedTokens`, and leave `out` as it was, for a sequence that means no action."""

    @abstractmethod
    def pad(self, ids: Ids, out: NDArray[Any]) -> None:
        """What the reference makes of a sequence, whatever it is."""

    def _to_stop(self, ids: Ids) -> list[int]:
        tokens: list[int] = ids.tolist()
        return tokens if self.stop not in tokens else tokens[: tokens.index(self.stop)]


class Numbered(Detokeniser):
    """An action is a row of numbers of bins; `values` [bins] is what each means. `terminate`: a row begins with a flag.

    `pad` takes the numbers as far as they go; the rest of the chunk is 0.
    """

    noun = "numbers"

    def __init__(self, values: Floats, horizon: int, dims: int, stop: int | None, terminate: bool) -> None:
        super().__init__(horizon, dims, stop)
        self._values, self._lead = values, int(terminate)
        self._width = dims + self._lead

    @abstractmethod
    def _read(self, ids: Ids) -> tuple[list[int], str]:
        """The numbers as far as they go, and what is wrong with what follows, empty where nothing does."""

    def decode(self, ids: Ids, out: NDArray[Any]) -> None:
        self.terminated = False
        numbers, wrong = self._read(ids)
        if wrong:
            raise MalformedTokens(wrong)
        if len(numbers) != self.horizon * self._width:
            raise MalformedTokens(_miscounted(len(numbers), self.noun, self.horizon, self._width))
        self._write(numbers, out)

    def pad(self, ids: Ids, out: NDArray[Any]) -> None:
        numbers, _ = self._read(ids)
        out.fill(0.0)
        self._write(numbers[: self.horizon * self._width], out)

    def _write(self, numbers: Sequence[int], out: NDArray[Any]) -> None:
        self.terminated = any(numbers[:: self._width]) if self._lead else False
        for i, number in enumerate(numbers):
            row, column = divmod(i, self._width)
            if column >= self._lead:
                out[row, column - self._lead] = self._values[number]


class Bins(Numbered):
    """One token a number: `token_ids` [bins] names them (OpenVLA, RT-2 with overwritten tokens)."""

    noun = "action tokens"

    def __init__(self, token_ids: Ids, values: Floats, horizon: int, dims: int, terminate: bool) -> None:
        super().__init__(values, horizon, dims, None, terminate)
        self._bins = {token: i for i, token in enumerate(token_ids.tolist())}

    def _read(self, ids: Ids) -> tuple[list[int], str]:
        numbers: list[int] = []
        for token in ids.tolist():
            if token not in self._bins:
                return numbers, f"token {token} is no action token"
            numbers.append(self._bins[token])
        return numbers, ""


class Integers(Numbered):
    """RT-2 (https://arxiv.org/abs/2307.15818, section 3.2): numbers in decimal, spaces between, read by `tokenizer`."""

    noun = "integers"

    def __init__(
        self, tokenizer: Tokenizer, values: Floats, horizon: int, dims: int, stop: int, terminate: bool
    ) -> None:
        super().__init__(values, horizon, dims, stop, terminate)
        self._tokenizer = tokenizer

    def _read(self, ids: Ids) -> tuple[list[int], str]:
        tokens = self._to_stop(ids)
        strange = _first_unknown(self._tokenizer, tokens)
        text = self._tokenizer.decode(tokens[:strange], skip_special_tokens=False)
        bins, numbers = len(self._values), list[int]()
        for word in filter(None, text.split(" ")):
            if not _is_integer(word) or int(word) >= bins:
                return numbers, f"{word[:_SHOWN]!r} is no integer of 0 to {bins - 1}"
            numbers.append(int(word))
        return numbers, "" if strange is None else f"token {tokens[strange]} is not in the tokenizer"


class Fast(Detokeniser):
    """FAST (https://arxiv.org/abs/2501.09747), decoded as processing_action_tokenizer.py of physical-intelligence/fast.

    `pad` is lerobot 0.6's `detokenize_actions` where the scheme is `relaxed`, else openpi's `extract_actions`: ids that
    are not in the vocabulary are skipped, and whatever makes the reference raise is a chunk of zeros.
    """

    def __init__(self, tokenizer: Tokenizer, scheme: FastScheme, horizon: int, dims: int) -> None:
        super().__init__(horizon, dims, scheme.stop)
        self._tokenizer, self._scheme, self._prefix = tokenizer, scheme, list(scheme.prefix)
        self._inverse = inverse_dct(horizon)
        self._coefficients = np.zeros((horizon, dims))
        self._actions = np.zeros((horizon, dims))

    def decode(self, ids: Ids, out: NDArray[Any]) -> None:
        tokens, begin = self._to_stop(ids), len(self._prefix)
        if tokens[:begin] != self._prefix:
            raise MalformedTokens(f"begins with the tokens {tokens[:begin]}, expected {self._prefix}")
        fast = [self._scheme.top - token for token in tokens[begin:]]
        strange = _first_unknown(self._tokenizer, fast)
        if strange is not None:
            raise MalformedTokens(f"token {tokens[begin + strange]} is no FAST token")
        text = self._text(fast)
        if _BROKEN in text:
            raise MalformedTokens(f"FAST coefficient {text.index(_BROKEN)} is no character: broken UTF-8")
        if len(text) != self._coefficients.size:
            raise MalformedTokens(_miscounted(len(text), "FAST coefficients", self.horizon, self.dims))
        self._transform(text, out)

    def pad(self, ids: Ids, out: NDArray[Any]) -> None:
        text, size = self._text_of_anything(self._to_stop(ids)), self._coefficients.size
        if self._scheme.relaxed:
            text = text[:size]
        elif len(text) != size:
            text = ""
        self._transform(text, out)

    def _text_of_anything(self, tokens: list[int]) -> str:
        wanted = self._prefix[:2] if self._scheme.relaxed else self._prefix  # lerobot asserts "Action" and ":", no more
        if tokens[: len(wanted)] != wanted:
            return ""
        fast = [self._scheme.top - token for token in _without(tokens, self._prefix)]
        return self._text(fast) if all(0 <= i < _U32 for i in fast) else ""

    def _text(self, fast: list[int]) -> str:
        text: str = self._tokenizer.decode(fast, skip_special_tokens=False)
        return text

    def _transform(self, text: str, out: NDArray[Any]) -> None:
        """Coefficients as characters, [horizon, dims] row by row, the rest 0 → actions."""
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        self._coefficients.fill(0.0)
        np.add(points, float(self._scheme.min_token), out=self._coefficients.reshape(-1)[: len(points)])
        np.divide(self._coefficients, self._scheme.scale, out=self._coefficients)
        np.matmul(self._inverse, self._coefficients, out=self._actions)
        np.copyto(out, self._actions, casting="same_kind")


def detokeniser(bundle: Bundle) -> Detokeniser:
    """What reads the action tokens of `bundle`; raise `BundleError` where a file or a constant of it is missing."""
    spec, head = bundle.spec, bundle.spec.head
    assert isinstance(head, TokenSpec)
    scheme, horizon, dims, ids = head.scheme, spec.horizon, spec.action.dims, token_ids(bundle)
    if isinstance(scheme, BinScheme):
        return Bins(ids, _values(bundle, len(ids)), horizon, dims, scheme.terminate)
    marks = {scheme.stop, *(scheme.prefix if isinstance(scheme, FastScheme) else ())}
    if missing := sorted(marks.difference(ids.tolist())):
        raise BundleError(f"{bundle.path}: the head cannot write token {missing[0]}; export the bundle again")
    if isinstance(scheme, IntegerScheme):
        words = _tokenizer(bundle, bundle.manifest.tokenizer)
        return Integers(words, _values(bundle), horizon, dims, scheme.stop, scheme.terminate)
    return Fast(_tokenizer(bundle, scheme.tokenizer), scheme, horizon, dims)


def token_ids(bundle: Bundle) -> Ids:
    """int64 [n]: the token that each output of the restricted head stands for."""
    ids: Ids = _vector(bundle, "token_ids", np.int64)
    if len(np.unique(ids)) != len(ids):
        raise BundleError(f"{bundle.path / bundle.manifest.constants}: token_ids names a token twice; export it again")
    return ids


def inverse_dct(n: int) -> NDArray[np.float64]:
    """[n, n] M with x = M·X for X the orthonormal DCT-II of x: M[t, k] = c(k)·cos(π·(2t + 1)·k / 2n), c² = 1/n, 2/n."""
    t, k = np.arange(n)[:, None], np.arange(n)[None, :]
    matrix: NDArray[np.float64] = np.sqrt(2.0 / n) * np.cos(np.pi * (2 * t + 1) * k / (2 * n))
    matrix[:, 0] = np.sqrt(1.0 / n)
    return matrix


def _values(bundle: Bundle, count: int | None = None) -> Floats:
    values: Floats = _vector(bundle, "values", np.float32)
    if count is not None and len(values) != count:
        where = bundle.path / bundle.manifest.constants
        raise BundleError(f"{where}: {len(values)} values for {count} token_ids; export the bundle again")
    return values


def _vector(bundle: Bundle, name: str, dtype: type[Any]) -> NDArray[Any]:
    found = constants(bundle).get(name)
    if found is None or found.dtype != dtype or found.ndim != 1 or not found.size:
        what = "missing" if found is None else f"{found.dtype} {list(found.shape)}"
        where = bundle.path / bundle.manifest.constants
        raise BundleError(f"{where}: {name} is {what}, expected {np.dtype(dtype)} [n]; export the bundle again")
    return found


def _tokenizer(bundle: Bundle, name: str) -> Tokenizer:
    path: Path = bundle.path / name
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise BundleError(f"{path}: not a tokenizer this runtime can read ({error})") from error


def _miscounted(count: int, noun: str, rows: int, columns: int) -> str:
    return f"{count} {noun}, expected {rows} × {columns} = {rows * columns}"


def _is_integer(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= _LONGEST_INTEGER


def _first_unknown(tokenizer: Tokenizer, ids: Iterable[int]) -> int | None:
    """Where the first id stands that is not in the vocabulary: the library would skip it, or raise."""
    for place, i in enumerate(ids):
        if not 0 <= i < _U32 or tokenizer.id_to_token(i) is None:
            return place
    return None


def _without(tokens: list[int], sequence: list[int]) -> list[int]:
    """`tokens` less every occurrence of `sequence`, as lerobot removes it: looking on from where one was taken out."""
    i, left = 0, list(tokens)
    while sequence and i <= len(left) - len(sequence):
        if left[i : i + len(sequence)] == sequence:
            del left[i : i + len(sequence)]
        else:
            i += 1
    return left
