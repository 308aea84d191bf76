"""Pacing by absolute slots: being late once never makes a second tick late, and nothing is made up for in a burst."""

from __future__ import annotations

from edge_runtime.clock import Clock


class Pacer:
    """One slot a period. A slot that has wholly passed is skipped and counted; its tick never happens."""

    def __init__(self, clock: Clock, period_ns: int) -> None:
        self._clock = clock
        self.period_ns = period_ns
        self.due_ns = clock.now_ns()
        """The present slot's time."""
        self.woken_ns = self.due_ns
        self.lateness_ns = 0
        """From the slot that was waited for to waking: a stall shows in full, skipped slots included."""
        self.skipped = 0
        """Slots passed over by the last wait."""
        self.missed = 0
        """Slots passed over in all."""

    def begin(self) -> None:
        """Count slots from now: at the start, and after work outside the tick during which no slot was due."""
        self.due_ns = self._clock.now_ns()

    def wait(self) -> None:
        """Sleep until the next slot."""
        self.due_ns += self.period_ns
        self._clock.sleep_until(self.due_ns)
        self.woken_ns = self._clock.now_ns()
        self.lateness_ns = self.woken_ns - self.due_ns
        self.skipped = self.lateness_ns // self.period_ns
        self.due_ns += self.skipped * self.period_ns
        self.missed += self.skipped
