"""One answer that is late is told from a supply that is off, by how often in a row nobody has answered."""

from __future__ import annotations

SEVERAL = 3
"""Questions in a row; a busy machine is late for one of them, hardly for three."""


class Silence:
    """What it means that no motor of a line answers. Until one has answered for the first time, it is the supply."""

    def __init__(self) -> None:
        self._questions = SEVERAL

    def end(self) -> None:
        """A motor has answered."""
        self._questions = 0

    def words(self, too: str = "") -> str:
        """Nobody has answered one question more; `too` is what else to ask where it is not the supply."""
        self._questions += 1
        if self._questions < SEVERAL:
            return "no motor answered in time"
        return f"no motor answers though the port is there: is their supply on?{too}"
