"""Who looks on while bytes go over a line: whatever a port sends and receives is shown to its tap.

What a tap does takes its time from the control thread: it copies, allocates nothing lasting, waits for nobody.
"""

from __future__ import annotations

from typing import Protocol

Data = bytes | bytearray | memoryview


class Tap(Protocol):
    """Both are called on the thread that uses the port, with bytes, or none, that are the port's again afterwards."""

    def sent(self, data: Data, /) -> None: ...

    def received(self, data: Data, /) -> None: ...


class Nobody:
    """A tap that looks away."""

    def sent(self, data: Data, /) -> None:
        """Nothing."""

    def received(self, data: Data, /) -> None:
        """Nothing."""


NOBODY = Nobody()
