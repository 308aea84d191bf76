"""How a bundle was quantized, in words: what for, of what, and which layers that matters to most."""

from __future__ import annotations

from edge_runtime.accuracy_text import percent
from edge_runtime.bundle_spec import Quantization, Source
from edge_runtime.layer_table import LayerRow, LayerTable
from edge_runtime.targets import TARGETS

SHOWN = 10
"""Layers that a person sees."""
_RANGES = {
    "max": "up to the largest value seen",
    "percentile": "up to a percentile of the values seen",
    "smooth": "up to the largest value seen, after outliers were moved into the weights",
}


def fields(made: Quantization, source: Source, table: LayerTable) -> list[tuple[str, str]]:
    """(label, words) of what is said about the whole bundle."""
    title = TARGETS[made.target].title if made.target in TARGETS else "a target that is not known here"
    parts = "; ".join(_part(name, made) for name in sorted({*made.parts, *made.floats}))
    kept = f"; {made.kept} of their layers kept in floating point" if made.kept else ""
    if any(row.sensitivity is not None for row in table.layers):
        sensitivity = f"{table.measure}, over {table.observations} observations, with one layer alone quantized"
    else:
        sensitivity = f"of {len(table.layers)} layers not measured"
    levels = [("levels", f"of activations {_RANGES[made.ranges]} ({made.ranges})")]
    data = source.calibration_sha256
    return [
        ("made for", f"{made.target}: {title}"),
        ("parts", parts + kept),
        *(levels if {"int8", "fp8"} & set(made.parts.values()) else []),
        ("calibration", f"data sha256 {data}" if data else "data not recorded"),
        ("original", f"float32 bundle of seal {made.origin}"),
        ("sensitivity", sensitivity),
    ]


def _part(name: str, made: Quantization) -> str:
    """ "expert int4 in blocks of 128, floats bf16"."""
    floats = made.floats.get(name, "fp32")
    precision = made.parts.get(name, floats)
    blocks = f" in blocks of {made.block}" if precision == "int4" else ""
    return f"{name} {precision}{blocks}" + (f", floats {floats}" if precision != floats else "")


def layers(table: LayerTable, width: int) -> list[str]:
    """The most sensitive layers, a row each of `width` columns; none where that was not measured."""
    measured = [row for row in table.layers if row.sensitivity is not None]
    if not measured:
        return []
    some = sorted(measured, key=lambda row: row.sensitivity or 0.0, reverse=True)[:SHOWN]
    lines = [f"    {'change':>9}{'precision':>11}{'weight':>14}{'|input|':>10}{'level':>10}  layer"]
    lines += [_row(row, width) for row in some]
    more = len(table.layers) - len(some)
    return [*lines, f"    {more} more; --json has all"] if more else lines


def _row(row: LayerRow, width: int) -> str:
    level = f"{row.level:.3g}" if row.level else "–"
    weight = f"{row.shape[0]}x{row.shape[1]}"
    line = f"    {percent(row.sensitivity or 0.0):>9}{row.precision:>11}{weight:>14}{row.largest:>10.3g}{level:>10}  "
    room = width - len(line)
    return line + (row.name if len(row.name) <= room else f"…{row.name[1 - room :]}")
