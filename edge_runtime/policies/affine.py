"""Normalisation: between the robot's units and the model's, in place and in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundle_spec import Normalisation


class Affine:
    """One `Normalisation` of `dims` dimensions, for arrays [dims] or, with `rows`, [rows, dims].

    Every scheme is y = (x - offset) / divide - shift and x = (y + shift)·multiply + offset. The references compute this
    in float32 or float64; double precision is within float32's rounding of both.
    """

    def __init__(self, spec: Normalisation, dims: int, rows: int | None = None) -> None:
        a, b = (np.asarray(x, np.float64) if spec.kind != "none" else np.zeros(dims) for x in (spec.a, spec.b))
        if spec.kind == "none":
            b = np.ones(dims)
        self._offset, self._shift = a, np.zeros(dims)
        exact = spec.kind == "none"
        self._divide, self._multiply = (b + (0.0 if exact else eps) for eps in (spec.eps_in, spec.eps_out))
        if spec.kind in ("quantiles", "min_max"):
            self._divide, self._multiply = (b - a + spec.eps_in) / 2.0, (b - a + spec.eps_out) / 2.0
            self._shift = np.ones(dims)
        if spec.mask:
            as_it_is = ~np.asarray(spec.mask)
            self._offset[as_it_is] = self._shift[as_it_is] = 0.0
            self._divide[as_it_is] = self._multiply[as_it_is] = 1.0
        self._clip = spec.clip
        self._scratch = np.zeros(dims if rows is None else (rows, dims))

    def forth(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """Robot's units → the model's."""
        y = self._scratch
        np.subtract(x, self._offset, out=y)
        np.divide(y, self._divide, out=y)
        np.subtract(y, self._shift, out=y)
        if self._clip:
            np.clip(y, -self._clip, self._clip, out=y)
        np.copyto(out, y, casting="same_kind")

    def back(self, y: NDArray[Any], out: NDArray[Any]) -> None:
        """The model's units → the robot's."""
        x = self._scratch
        np.add(y, self._shift, out=x)
        np.multiply(x, self._multiply, out=x)
        np.add(x, self._offset, out=x)
        np.copyto(out, x, casting="same_kind")
