"""One entry of a servo's memory table: where it is, how wide, and how its bytes become a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Register:
    """First address, bytes, what one count is worth in `unit`, and how a negative count is written, if it can be.

    With a `sign_bit` a register holds sign and magnitude: bit 15 set and 100 means -100. With `signed` it holds two's
    complement. Values wider than a byte are little-endian.
    """

    address: int
    size: int
    scale: float = 1.0
    unit: str = "count"
    sign_bit: int | None = None
    signed: bool = False

    def decode(self, raw: int) -> int:
        """Bytes as they stand in the servo (already one unsigned integer) to a count."""
        if self.signed:
            return raw - (1 << 8 * self.size) if raw >> 8 * self.size - 1 else raw
        if self.sign_bit is None or not raw >> self.sign_bit & 1:
            return raw
        return -(raw & ~(1 << self.sign_bit))

    def encode(self, count: int) -> int:
        """A count to the unsigned integer that is sent; `ValueError` if it does not fit."""
        bits = 8 * self.size
        if self.signed:
            fits = -1 << bits - 1 <= count < 1 << bits - 1
            raw = count & (1 << bits) - 1
        else:
            limit = 1 << (bits if self.sign_bit is None else self.sign_bit)
            fits = abs(count) < limit and (count >= 0 or self.sign_bit is not None)
            raw = -count | limit if count < 0 else count
        if not fits:
            raise ValueError(f"{count} does not fit the register at address {self.address}")
        return raw


def names_of(bits: int, names: Mapping[int, str]) -> str:
    """What is set of a register whose bits have names, for a message; empty if nothing is."""
    return ", ".join(name for bit, name in names.items() if bits & bit)
