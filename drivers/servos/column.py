"""One register of several servos at once: from answers that lie one behind another to one array of counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivers.servos.registers import Register


class Column:
    """The same register in every row of a buffer; `read_into` decodes all rows as `Register.decode` does one."""

    def __init__(self, register: Register, rows: bytearray, row_size: int, address: int) -> None:
        """Rows of `row_size` bytes, each of which begins at `address` of its servo's table."""
        kind = f"<{'i' if register.signed else 'u'}{register.size}"
        at, n = register.address - address, len(rows) // row_size
        self._raw: NDArray[np.integer] = np.ndarray(n, kind, rows, at, (row_size,))
        self._sign = 0 if register.sign_bit is None else 1 << register.sign_bit
        self._magnitude = np.zeros(n, kind)
        self._negative = np.zeros(n, bool)

    def read_into(self, counts: NDArray[np.float64]) -> None:
        """Put the counts of all rows into `counts` [n]."""
        if not self._sign:
            np.copyto(counts, self._raw)
            return
        np.bitwise_and(self._raw, self._sign, out=self._magnitude)
        np.not_equal(self._magnitude, 0, out=self._negative)
        np.bitwise_and(self._raw, ~self._sign & 0xFFFF, out=self._magnitude)
        np.copyto(counts, self._magnitude)
        np.negative(counts, out=counts, where=self._negative)
