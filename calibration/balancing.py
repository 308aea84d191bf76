"""Per-channel factors that move difficulty between an activation and the weights that multiply it: x/f · f·W = x·W.

SmoothQuant (https://arxiv.org/abs/2211.10438, eq. 4) makes activations easier to round, AWQ
(https://arxiv.org/abs/2306.00978, section 3.2) the weights that matter. Both act on all weights that share an input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.rounding import block_scales, from_int4, to_int4

Floats = NDArray[np.float32]
ALPHA = 0.5
"""How much of an activation's spread SmoothQuant moves into the weights."""
GRID = tuple(i / 10 for i in range(10))
"""Exponents that AWQ tries; 0 leaves everything as it is."""
_LEAST = np.float32(1e-5)
_FARTHEST = np.float32(1e4)
"""A factor beyond this, either way, comes of a channel that is all but silent."""


def smoothing(largest: Floats, weights: Sequence[Floats], alpha: float = ALPHA) -> Floats:
    """Factors f [in] = largest^alpha / max|W|^(1 - alpha), for weights [in, out] that share an input.

    `largest` [in] is the input's largest magnitude a channel. Channels that are silent on either side stay.
    """
    of_weights = np.maximum.reduce([np.abs(w).max(axis=1) for w in weights])
    silent = (largest < _LEAST) | (of_weights < _LEAST)
    factors = np.maximum(largest, _LEAST) ** alpha / np.maximum(of_weights, _LEAST) ** (1.0 - alpha)
    return _tame(np.where(silent, np.float32(1.0), factors))


def awq(mean_square: Floats, weights: Sequence[Floats], block: int, dtype: type) -> Floats:
    """Factors f [in] = rms^a, with the exponent a of `GRID` that rounding to int4 suffers least from.

    What a rounding error dW does to the outputs is estimated as sum over inputs of mean_square · dW², which takes the
    channels for uncorrelated and needs no stored activations. `mean_square` [in] is of the input.
    """
    rms = np.sqrt(np.maximum(mean_square, _LEAST**2))

    def factors(exponent: float) -> Floats:
        f = rms**exponent
        return _tame(f / np.sqrt(f.max() * f.min()))

    def suffers(f: Floats) -> float:
        return sum(_output_error(mean_square, w, f[:, None], block, dtype) for w in weights)

    return min((factors(exponent) for exponent in GRID), key=suffers)


def _output_error(mean_square: Floats, weight: Floats, f: Floats, block: int, dtype: type) -> float:
    scaled = weight * f
    scales = block_scales(scaled, block, dtype)
    change = from_int4(to_int4(scaled, scales), scales) / f - weight
    return float(mean_square @ np.einsum("io,io->i", change, change))


def _tame(factors: Floats) -> Floats:
    return np.asarray(np.clip(factors, 1.0 / _FARTHEST, _FARTHEST), np.float32)
