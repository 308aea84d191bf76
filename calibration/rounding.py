"""Numbers in few bits: symmetric, zero at zero, as TensorRT's explicit quantization wants them.

int8: q = clip(round(x / s), -127, 127), s = largest / 127, rounded half to even. int4: blocks of a column share a
scale, q in -7..7. FP8 (E4M3): x / s rounded to the format, s = largest / 448.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
LEVELS = {"int8": 127.0, "int4": 7.0, "fp8": 448.0}
"""What the largest magnitude becomes."""
SMALLEST = float(2.0**-24)
"""Of a scale: above zero in float16 too, so that a channel of zeros divides by something."""


def scale_for(largest: Floats | float, precision: str, dtype: type) -> Floats:
    """The scale that takes magnitudes up to `largest` to the levels of `precision`, as the type `dtype` can hold it."""
    exact = np.maximum(np.asarray(largest, np.float32) / LEVELS[precision], np.float32(SMALLEST))
    return np.asarray(exact.astype(dtype), np.float32)


def to_int8(x: Floats, scale: Floats) -> NDArray[np.int8]:
    """`x` in int8; `scale` broadcasts against it."""
    return np.asarray(np.clip(np.rint(x / scale), -LEVELS["int8"], LEVELS["int8"]), np.int8)


def block_scales(weight: Floats, block: int, dtype: type) -> Floats:
    """Scales [in / block, out] of a weight [in, out] in int4."""
    rows = np.abs(weight.reshape(-1, block, weight.shape[1]))
    return scale_for(rows.max(axis=1), "int4", dtype)


def to_int4(weight: Floats, scales: Floats) -> NDArray[np.int8]:
    """A weight [in, out] in int4 (-7..7, one a byte) by the scales of its blocks."""
    each = np.repeat(scales, weight.shape[0] // scales.shape[0], axis=0)
    return np.asarray(np.clip(np.rint(weight / each), -7.0, 7.0), np.int8)


def from_int4(q: NDArray[np.int8], scales: Floats) -> Floats:
    """What `to_int4` stands for."""
    return np.asarray(q * np.repeat(scales, q.shape[0] // scales.shape[0], axis=0), np.float32)
