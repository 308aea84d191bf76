"""Which layers of a quantized bundle are in which precision, and what that does to the actions (`layers.json`)."""

from __future__ import annotations

import msgspec


class LayerRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A layer, by the name of its weight [inputs, outputs].

    `largest` is the largest magnitude of its input in the calibration data, `level` what the last level of its input
    stands for: 0 where the input stays in floating point. `sensitivity`: what quantizing this layer alone does; null
    where that was not measured.
    """

    name: str
    part: str
    precision: str
    shape: tuple[int, int]
    largest: float
    level: float
    sensitivity: float | None = None


class LayerTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every layer, the most sensitive first. `measure` says what sensitivity is, over so many `observations`."""

    observations: int
    measure: str
    layers: tuple[LayerRow, ...]
