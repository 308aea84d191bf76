"""One register of several servos at once, from answers that lie one behind another.

In plain Python: for as many servos as a line has, numpy takes longer to begin than this takes, and several times longer
after the sleep that comes before every answer.
"""

from __future__ import annotations

import struct

from drivers.servos.registers import Register

_KINDS = {1: "b", 2: "h", 4: "i"}


class Column:
    """The same register in every row of a buffer; `counts` decodes all rows as `Register.decode` does one."""

    def __init__(self, register: Register, rows: bytearray, row_size: int, address: int) -> None:
        """Rows of `row_size` bytes, each of which begins at `address` of its servo's table."""
        kind = _KINDS[register.size] if register.signed else _KINDS[register.size].upper()
        lead = register.address - address
        row = f"{lead}x{kind}{row_size - lead - register.size}x"
        self._rows = struct.Struct("<" + row * (len(rows) // row_size))
        self._data = rows
        self._sign = 0 if register.sign_bit is None else 1 << register.sign_bit
        self._magnitude = ~self._sign

    def counts(self) -> list[int]:
        """Of all rows, as they are now."""
        sign, magnitude = self._sign, self._magnitude
        return [-(raw & magnitude) if raw & sign else raw for raw in self._rows.unpack_from(self._data)]
