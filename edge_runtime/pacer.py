"""Pacing by absolute slots: being late once never makes a second tick late, and nothing is made up for in a burst."""

from __future__ import annotations

from edge_runtime.clock import Clock

APART = 0.25
"""Share of a period for which nothing is sent after a setpoint: to a motor two at once are one long step."""
LEAD_NS = 3_500_000
"""How long before its slot a setpoint is made ready. That takes a tenth of a millisecond; the rest is for waiting until
other threads let go of the interpreter. A new chunk that comes meanwhile waits for the next slot."""
LEAD_SHARE = 0.7
"""Of a period, at most: the rest is for the serial cycle, and for what is to be judged before the next setpoint. At 200
ticks a second that is just about as long as both take: the thread then sleeps, and wakes, once a tick and not twice."""


class Pacer:
    """One slot a period: `prepare` for it, wait for it, and say with `wake` when that was.

    A slot that has wholly passed is skipped and counted; its tick never happens. So is one that begins too soon after a
    setpoint that went out late (`sent_ns`).
    """

    def __init__(self, clock: Clock, period_ns: int) -> None:
        self._clock = clock
        self._apart_ns = int(APART * period_ns)
        self.lead_ns = min(LEAD_NS, int(LEAD_SHARE * period_ns))
        self._passed = 0
        self.period_ns = period_ns
        self.due_ns = clock.now_ns()
        """The present slot's time."""
        self._waited_for_ns = self.due_ns
        self.woken_ns = self.due_ns
        self.lateness_ns = 0
        """From the slot that was waited for to waking: a stall shows in full, skipped slots included."""
        self.skipped = 0
        """Slots passed over between the last slot for which something was made ready and the present one."""
        self.missed = 0
        """Slots passed over in all."""
        self.sent_ns = self.due_ns - period_ns
        """When the last setpoint went out: whoever sends one says so."""

    def begin(self) -> None:
        """Count slots from now: at the start, and after work outside the tick during which no slot was due."""
        self.due_ns = self._waited_for_ns = self._clock.now_ns()
        self._passed = 0

    def prepare(self) -> None:
        """Sleep until shortly before the next slot: what is to happen in it has to be made ready."""
        self.due_ns += self.period_ns
        self._waited_for_ns = self.due_ns
        too_soon_ns = max(0, self.sent_ns + self._apart_ns - self.due_ns)
        self._pass(-(-too_soon_ns // self.period_ns))
        self._clock.sleep_until(self.due_ns - self.lead_ns)
        self._pass((self._clock.now_ns() - self.due_ns) // self.period_ns)
        self.skipped, self._passed = self._passed, 0

    def wake(self, woken_ns: int) -> None:
        """The slot had come. Slots that passed meanwhile are the next one's to make up for."""
        self.woken_ns = woken_ns
        self.lateness_ns = woken_ns - self._waited_for_ns
        self._pass((woken_ns - self.due_ns) // self.period_ns)

    def wait(self) -> None:
        """Prepare for the next slot, with nothing to do for that, and wait for it."""
        self.prepare()
        self._clock.sleep_until(self.due_ns)
        self.wake(self._clock.now_ns())

    def _pass(self, slots: int) -> None:
        """Go on by so many slots, if any."""
        if slots > 0:
            self.due_ns += slots * self.period_ns
            self._passed += slots
            self.missed += slots
