"""A tap that keeps what it is shown."""

from __future__ import annotations

from drivers.tap import Data


class KeptBytes:
    """Everything in its order: `>` sent, `<` received."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes]] = []

    def sent(self, data: Data, /) -> None:
        self._see(">", data)

    def received(self, data: Data, /) -> None:
        self._see("<", data)

    def _see(self, way: str, data: Data) -> None:
        if len(data):
            self.seen.append((way, bytes(data)))

    def all(self, way: str) -> bytes:
        """All that went one way."""
        return b"".join(data for one, data in self.seen if one == way)
