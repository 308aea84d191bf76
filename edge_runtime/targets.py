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
FLOATS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Target:
    """`sm`: compute capabilities, empty for a CPU. `tensorrt`: the release that builds there, "" for none."""

    name: str
    title: str
    sm: tuple[str, ...]
    tensorrt: str
    precisions: tuple[str, ...]


_AMPERE = ("fp32", "bf16", "fp16", "int8", "int4")
TARGETS = {
    row.name: row
    for row in (
        Target("jetpack6-orin", "Jetson Orin, JetPack 6", ("87",), "10.3", _AMPERE),
        Target("jetpack7-orin", "Jetson Orin, JetPack 7", ("87",), "10.13", _AMPERE),
        Target("jetpack7-thor", "Jetson Thor, JetPack 7", ("110",), "10.13", (*_AMPERE, "fp8")),
        Target("x86-rtx", "RTX GPU in an x86 computer", ("86", "89", "120", "121"), "11", (*_AMPERE, "fp8")),
        Target("cpu", "any CPU, ONNX Runtime", (), "", ("fp32", "int8", "int4")),
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
    known = "" if precision in PRECISIONS else did_you_mean(precision, target.precisions)
    raise EdgeError(
        f"{where}: {target.title} ({target.name}) has no {precision}{known}; it has {', '.join(target.precisions)}"
    )
