"""Which part of a model is to be in which precision: presets by target, what a person asks for, what ranges allow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge_runtime.suggest import did_you_mean
from edge_runtime.targets import FLOATS, Target, refuse_precision
from export.errors import ExportError
from export.half import FP16_LIMIT
from export.layers import PROJECTIONS, QUANTIZABLE, Layer

HALF = "half"
"""In a preset: float16, or bfloat16 where recorded ranges pass float16's safe limit."""
_ORIN = {"vision": HALF, "table": HALF, "backbone": "int8", "expert": "int8"}
_WITH_FP8 = {"vision": HALF, "table": HALF, "backbone": "fp8", "expert": "fp8"}
PRESETS: Mapping[str, Mapping[str, str]] = {
    # The prefix is bound by arithmetic, which W8A8 halves. The expert is bound by memory: int4 would read half of
    # int8's bytes, and becomes the default when a device has shown that it does not lose accuracy or time.
    "jetpack6-orin": _ORIN,
    "jetpack7-orin": _ORIN,
    "jetpack7-thor": _WITH_FP8,
    "x86-rtx": _WITH_FP8,
    "cpu": {"vision": "int8", "table": "fp32", "backbone": "int8", "expert": "int8"},
}
"""Target → part → precision. Projections stay in fp32 everywhere."""


@dataclass(frozen=True)
class Parts:
    """`precision` of each part, and the type of its `floats`: its own, or that between its integers."""

    precision: dict[str, str]
    floats: dict[str, str]


def asked_parts(target: Target, asked: Iterable[str]) -> dict[str, str]:
    """What is `asked` ("PART=PRECISION"), by part; `ExportError`, `EdgeError` for what cannot be on this target."""
    parts: dict[str, str] = {}
    for words in asked:
        part, equals, precision = words.partition("=")
        where, known = f"--precision {words}", PRESETS[target.name]
        if not equals or part in parts:
            raise ExportError(f"{where}: expected PART=PRECISION, each part once, such as expert=int8")
        if part not in known:
            raise ExportError(f'{where}: there is no part "{part}"{did_you_mean(part, known)}')
        refuse_precision(target, precision, where)
        if precision not in FLOATS and part not in QUANTIZABLE:
            raise ExportError(f"{where}: {part} is only looked up in; it may be {', '.join(FLOATS)}")
        parts[part] = precision
    return parts


def planned_parts(target: Target, asked: Mapping[str, str], present: Iterable[str]) -> dict[str, str]:
    """The target's preset for the parts that the model has (`present`), with what is `asked` in the place of some.

    `ExportError` where the model has not the part that was asked for.
    """
    there, preset = set(present), PRESETS[target.name]
    for part, precision in asked.items():
        if part not in there:
            has = ", ".join(name for name in preset if name in there)
            raise ExportError(f"--precision {part}={precision}: this model has no {part}; it has {has}")
    return {part: asked.get(part, precision) for part, precision in preset.items() if part in there}


def may_be_fp16(parts: Mapping[str, str]) -> set[str]:
    """Those of `parts` (`planned_parts`) whose floats can turn out to be float16."""
    return {part for part, precision in parts.items() if precision not in ("fp32", "bf16")}


def settle(target: Target, parts: Mapping[str, str], largest: Mapping[str, tuple[float, str]]) -> Parts:
    """What `parts` (`planned_parts`) will be in, given the `largest` values that would be in float16 (`observe`).

    `ExportError` where fp16 was asked for by name and is not safe.
    """
    precision, floats = {}, {}
    for part, asked in parts.items():
        magnitude, where = largest.get(part, (0.0, ""))
        if asked == "fp16" and magnitude > FP16_LIMIT:
            raise ExportError(
                f"--precision {part}=fp16: {where} reached {magnitude:.3g}, float16 is safe up to {FP16_LIMIT:g}; "
                f"use {part}=bf16"
            )
        half = "bf16" if magnitude > FP16_LIMIT else "fp16"
        if "fp16" not in target.precisions:
            half = "fp32"
        precision[part] = half if asked == HALF else asked
        floats[part] = precision[part] if precision[part] in FLOATS else half
    precision[PROJECTIONS] = floats[PROJECTIONS] = "fp32"
    return Parts(precision, floats)


def layer_precision(
    parts: Mapping[str, str], layers: Iterable[Layer], keep: Iterable[str], block: int
) -> dict[str, str]:
    """Layer → int8, int4 or fp8, for all but those in `keep`; `ExportError` where an int4 block does not divide one."""
    kept, found = set(keep), {}
    for layer in layers:
        precision = parts[layer.part]
        if precision in (*FLOATS, HALF) or layer.name in kept:
            continue
        if precision == "int4" and layer.width % block:
            raise ExportError(
                f"--precision {layer.part}=int4: {layer.name} has {layer.width} inputs, which blocks of {block} do not "
                "divide; give another --block, or another precision for that part"
            )
        found[layer.name] = precision
    return found
