"""How far answers are from a reference's, and the gate that they are held to: what stands in accuracy.json.

Errors of actions are told in action units and as a share of each dimension's range, which is what the policy's
normalisation spans: from low to high (`quantiles`, `min_max`), or four standard deviations (`mean_std`). What is not
finite is an infinite error: JSON has no word for that, so it is written as null.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundle_spec import Normalisation, PolicySpec

Floats = NDArray[np.float32]
Verdict = Literal["pass", "fail"]
FILE = "accuracy.json"


class Gate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The most that errors of actions may be, as shares of a range, and the least share of identical tokens.

    What is null is reported and not held to anything.
    """

    mean_share: float | None = None
    p99_share: float | None = None
    max_share: float | None = None
    tokens_same: float | None = None


FLOAT32_GATE = Gate(max_share=1e-4, tokens_same=1.0)
"""For graphs that compute the same in the same precision."""
QUANTIZED_GATE = Gate(mean_share=0.01, p99_share=0.05, tokens_same=0.9)
"""For low precision: on the mean within one hundredth of a joint's range. Whether that is enough for a task, only the
task can say."""


class Measure(msgspec.Struct, frozen=True):
    """Found against reference over all observations, for one output of one graph.

    Errors are absolute; `relative_error` is |found - reference| / |reference| as norms, and 1 beside a reference of
    zeros. `gate` (null: none) holds `max_error` divided by `scale`, the reference's largest value or 1.
    """

    cosine: float
    relative_error: float
    max_error: float
    mean_error: float
    scale: float
    gate: float | None
    verdict: Verdict


class ActionErrors(msgspec.Struct, frozen=True):
    """Actions against the reference's, over all observations, steps and dimensions.

    `unit` is "" where dimensions have several, or none is recorded. `worst` names the dimension of `max_share`, and
    `largest_shares` has that of every dimension.
    `tokens_same` is null for heads without tokens. `fault`: why the verdict is a fail where no figure shows it.
    """

    observations: int
    unit: str
    mean: float
    p99: float
    max: float
    mean_share: float
    p99_share: float
    max_share: float
    worst: str
    largest_shares: dict[str, float]
    tokens_same: float | None
    gate: Gate
    verdict: Verdict
    fault: str = ""


class ClosedLoop(msgspec.Struct, frozen=True):
    """Successes in simulation, the same episodes for bundle and reference, and the difference's 95 % interval."""

    episodes: int
    success: float
    reference_success: float
    difference: float
    low: float
    high: float


class HeadCheck(msgspec.Struct, frozen=True):
    """Of `steps` decoded tokens, in how many the full head's best token was an action token (and then the same one)."""

    steps: int
    same_argmax: int


class Accuracy(msgspec.Struct, frozen=True):
    """accuracy.json. Components are named graph.output; `observations` says what both were shown."""

    verdict: Verdict
    reference: str
    observations: str
    components: dict[str, Measure]
    actions: ActionErrors
    head: HeadCheck | None = None
    closed_loop: ClosedLoop | None = None


def plain(found: Accuracy | ActionErrors) -> dict[str, Any]:
    """As a program gets it in JSON, which has no infinity: what is not finite is null."""
    told: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(found))
    return told


class Running:
    """Compares pairs of arrays one after the other, without keeping them. What is not finite fails, as nothing does."""

    def __init__(self, gate: float | None = None) -> None:
        self._gate, self._scale = gate, 1.0
        self._aa = self._bb = self._ab = self._square = self._sum = self._max = 0.0
        self._count, self._finite = 0, True

    def add(self, found: NDArray[Any], reference: NDArray[Any]) -> None:
        """Take a pair into account; `ValueError` unless both are of one shape."""
        _refuse_shapes(found, reference)
        a, b = (x.astype(np.float64).ravel() for x in (found, reference))
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            self._finite = False
            return
        error = np.abs(a - b)
        self._aa, self._bb, self._ab = self._aa + float(a @ a), self._bb + float(b @ b), self._ab + float(a @ b)
        self._square += float(error @ error)
        self._sum += float(error.sum())
        self._max = max(self._max, float(error.max(initial=0.0)))
        self._scale = max(self._scale, float(np.abs(b).max(initial=0.0)))
        self._count += a.size

    def measure(self) -> Measure:
        """What has been found."""
        if not (self._finite and self._count):
            return Measure(0.0, math.inf, math.inf, math.inf, self._scale, self._gate, "fail")
        norms = math.sqrt(self._aa) * math.sqrt(self._bb)
        cosine = self._ab / norms if norms else float(self._square == 0.0)
        passed = self._gate is None or self._max <= self._gate * self._scale
        return Measure(
            cosine=min(1.0, max(-1.0, cosine)),
            relative_error=math.sqrt(self._square / (self._bb or self._square or 1.0)),
            max_error=self._max,
            mean_error=self._sum / self._count,
            scale=self._scale,
            gate=self._gate,
            verdict="pass" if passed else "fail",
        )


def _refuse_shapes(found: NDArray[Any], reference: NDArray[Any]) -> None:
    if found.shape != reference.shape:
        raise ValueError(f"{found.shape} is compared with {reference.shape}")


def span(spec: PolicySpec) -> NDArray[np.float64]:
    """The range [dims] of each action dimension, in action units.

    From -1 to 1 where nothing is normalised; 1 for a dimension that is taken as it is, or whose range is nothing.
    """
    norm: Normalisation = spec.action_normalisation
    if norm.kind == "none":
        return np.full(spec.action.dims, 2.0)
    a, b = np.asarray(norm.a, np.float64), np.asarray(norm.b, np.float64)
    ranges = 4.0 * np.abs(b) if norm.kind == "mean_std" else np.abs(b - a)
    ranges = np.where(ranges > 0.0, ranges, 1.0)
    return np.where(np.asarray(norm.mask), ranges, 1.0) if norm.mask else ranges


def action_errors(
    spec: PolicySpec,
    found: Iterable[Floats],
    reference: Iterable[Floats],
    gate: Gate,
    tokens: Iterable[tuple[tuple[int, ...], tuple[int, ...]]] = (),
) -> ActionErrors:
    """Compare chunks [horizon, dims], one an observation; `tokens` are what both wrote, as pairs.

    `ValueError` unless both have as many of one shape, and one at least.
    """
    a, b = (np.stack(list(chunks)).astype(np.float64) for chunks in (found, reference))
    _refuse_shapes(a, b)
    error = np.full(a.shape, np.inf)
    np.subtract(a, b, out=error, where=np.isfinite(a) & np.isfinite(b))
    np.abs(error, out=error)
    share = error / span(spec)
    mean_share, p99_share, max_share, same = float(share.mean()), _p99(share), float(share.max()), _same(list(tokens))
    held = ((mean_share, gate.mean_share), (p99_share, gate.p99_share), (max_share, gate.max_share))
    passed = max_share < math.inf and all(limit is None or value <= limit for value, limit in held)
    passed = passed and (same is None or gate.tokens_same is None or same >= gate.tokens_same)
    units, worst = set(spec.action.units), int(share.max(axis=(0, 1)).argmax())
    return ActionErrors(
        observations=len(a),
        unit=units.pop() if len(units) == 1 else "",
        mean=float(error.mean()),
        p99=_p99(error),
        max=float(error.max()),
        mean_share=mean_share,
        p99_share=p99_share,
        max_share=max_share,
        worst=spec.action.names[worst],
        largest_shares=dict(zip(spec.action.names, share.max(axis=(0, 1)).tolist(), strict=True)),
        tokens_same=same,
        gate=gate,
        verdict="pass" if passed else "fail",
    )


def _p99(values: NDArray[np.float64]) -> float:
    """The 99th percentile, one of the values."""
    return float(np.quantile(values, 0.99, method="higher"))


def _same(pairs: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> float | None:
    """The share of places at which both wrote the same token; what one wrote and the other did not counts against."""
    most = sum(max(len(a), len(b)) for a, b in pairs)
    return sum(x == y for a, b in pairs for x, y in zip(a, b, strict=False)) / most if most else None
