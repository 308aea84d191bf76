"""From ranges to a recipe: where the levels of every layer's input lie, and the factors that balance it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibration.balancing import awq, smoothing
from calibration.ranges import InputRange
from export.half import NUMPY, TYPES
from export.layers import Layer, groups
from export.precision import Parts
from export.quantize import Recipe, may_balance

Floats = NDArray[np.float32]
Ranges = Literal["max", "percentile", "smooth"]
PERCENT = 99.99
"""Of an input's values, those that `percentile` does not clip."""


@dataclass
class Balance:
    """Factors and input magnitudes by layer."""

    factors: dict[str, Floats] = field(default_factory=dict)
    inputs: dict[str, float] = field(default_factory=dict)


def make_recipe(
    graphs: Iterable[Sequence[Layer]],
    inputs: Mapping[str, InputRange],
    precision: Mapping[str, str],
    parts: Parts,
    ranges: Ranges,
    block: int,
) -> Recipe:
    """The recipe for the layers of all `graphs`, given what was seen at their `inputs`.

    `smooth` balances W8A8 layers by SmoothQuant; int4 layers are balanced by AWQ whatever `ranges` says. Layers that
    were never reached (a decoder that said nothing) take no part: they stay in floating point.
    """
    balance = Balance()
    reached = {name: p for name, p in precision.items() if name in inputs}
    for group in tied(graphs):
        _settle(balance, group, inputs, reached, parts, ranges, block)
    types = {part: TYPES[name] for part, name in parts.floats.items()}
    return Recipe(reached, types, balance.inputs, balance.factors, block)


@dataclass(frozen=True, eq=False)
class Tied:
    """Layers that must have the same factors, as they share an input in one graph or another. One of each name."""

    layers: dict[str, Layer]
    balanced: bool
    """Whether factors can be had in every graph."""


def tied(graphs: Iterable[Sequence[Layer]]) -> list[Tied]:
    """The layers of all graphs by what they share."""
    found: list[Tied] = []
    for layers in graphs:
        for group in groups(layers):
            now = Tied({layer.name: layer for layer in group}, may_balance(group))
            for before in [one for one in found if one.layers.keys() & now.layers.keys()]:
                found.remove(before)
                now = Tied(before.layers | now.layers, before.balanced and now.balanced)
            found.append(now)
    return found


def _settle(
    balance: Balance,
    group: Tied,
    inputs: Mapping[str, InputRange],
    precision: Mapping[str, str],
    parts: Parts,
    ranges: Ranges,
    block: int,
) -> None:
    quantized = [layer for name, layer in group.layers.items() if name in precision]
    if not quantized:
        return
    seen = max((inputs[layer.name] for layer in quantized), key=lambda one: one.rows)
    kinds = {precision[layer.name] for layer in quantized}
    factors = None
    if group.balanced and ("int4" in kinds or ranges == "smooth"):
        weights = [_rows(layer) for layer in quantized]
        dtype = NUMPY[TYPES[parts.floats[quantized[0].part]]]
        factors = awq(seen.mean_square, weights, block, dtype) if "int4" in kinds else smoothing(seen.largest, weights)
    for name in group.layers:
        if factors is not None:
            balance.factors[name] = factors
        balance.inputs[name] = _level(inputs.get(name, seen), factors, ranges)


def _level(seen: InputRange, factors: Floats | None, ranges: Ranges) -> float:
    if factors is not None:
        return float((seen.largest / factors).max(initial=0.0))
    return seen.percentile(PERCENT) if ranges == "percentile" else seen.maximum()


def _rows(layer: Layer) -> Floats:
    """A layer's weight as [in, out]."""
    assert layer.weight.const_value is not None
    weight = np.asarray(layer.weight.const_value.numpy(), np.float32)
    return weight if layer.out_axis == 1 else weight.T
