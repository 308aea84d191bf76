"""What a quantized bundle is made for: one row a software release on a kind of hardware, and what that can compute.

Sources: NVIDIA's TensorRT support matrix (precisions by compute capability; FP8 from SM89 on), the JetPack release
notes (versions). SM87 (Orin) is Ampere: no FP8, no FP4. ONNX Runtime's CPU provider has no bfloat16 product and
computes float16 in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.errors import EdgeError
from edge_runtime.suggest import did_you_mean

PRECISIONS = ("fp32", "bf16", "fp16", "int8", "int4", "fp8")
"""What a part of a model can be in: W8A8 for `int8` and `fp8`, weights alone for `int4`."""
_NOWHERE = ("fp4", "nvfp4")
"""Precisions that there are, but on no target here: nobody who asks for one has misspelt another."""
FLOATS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Target:
    """`sm`: GPU architectures as engines have them, "sm87"; empty for a CPU."""

    name: str
    title: str
    sm: tuple[str, ...]
    precisions: tuple[str, ...]


_AMPERE = ("fp32", "bf16", "fp16", "int8", "int4")
TARGETS = {
    row.name: row
    for row in (
        Target("jetpack6-orin", "Jetson Orin, JetPack 6", ("sm87",), _AMPERE),
        Target("jetpack7-orin", "Jetson Orin, JetPack 7", ("sm87",), _AMPERE),
        Target("jetpack7-thor", "Jetson Thor, JetPack 7", ("sm110",), (*_AMPERE, "fp8")),
        Target("x86-rtx", "RTX GPU in an x86 computer", ("sm89", "sm120", "sm121"), (*_AMPERE, "fp8")),
        Target("cpu", "any CPU, ONNX Runtime", (), ("fp32", "int8", "int4")),
    )
}


def target(name: str) -> Target:
    """The row of that name; `EdgeError` with the nearest where there is none."""
    if name not in TARGETS:
        raise EdgeError(f'target "{name}": there is none{did_you_mean(name, TARGETS)}; known are {", ".join(TARGETS)}')
    return TARGETS[name]


def refuse_precision(target: Target, precision: str, where: str) -> None:
    """Raise `EdgeError` unless `target` can compute in `precision`; `where` is what asked for it."""
    if precision in target.precisions:
        return
    near = "" if precision in (*PRECISIONS, *_NOWHERE) else did_you_mean(precision, target.precisions)
    near = "" if near.startswith(";") else near  # none is near: the list that follows says what there is
    raise EdgeError(
        f"{where}: {target.title} ({target.name}) has no {precision}{near}; it has {', '.join(target.precisions)}"
    )
