"""For how long each joint has been told nothing: too long, and it goes on from rest.

A motor that hears nothing stands where it was told to be. After a slot or two it takes up its motion where it left it,
one slot later. After more it must not be told to go on at speed: it begins from rest at the last setpoint that went
out. Which way the setpoints were lost (the bus did not take one, a slot passed, the process stood still) is no matter.
"""

from __future__ import annotations

OLDEST_NS = 20_000_000
"""How late a setpoint may go out, and for how long motors may have been told nothing at the time of a slot."""
PERIODS = 2
"""The latter in periods, where they are long: one setpoint may be lost at any rate."""


class Silence:
    """Owned by the control thread."""

    def __init__(self, joints: int, period_ns: int) -> None:
        self._period_ns = period_ns
        self._limit_ns = max(OLDEST_NS, PERIODS * period_ns)
        self._since_ns = [0] * joints
        """When the last setpoint went out to each joint, or would have to one that was found silent for too long."""

    def end(self, begin: int, end: int, now_ns: int) -> None:
        """A setpoint went out at `now_ns` to the joints from `begin` up to `end`."""
        for joint in range(begin, end):
            self._since_ns[joint] = now_ns

    def over(self, due_ns: int) -> list[int]:
        """The joints that will have been told nothing for too long in the slot at `due_ns`: they must begin from rest.

        That is one more setpoint of a resting joint, and so its silence begins anew.
        """
        found = [joint for joint, since_ns in enumerate(self._since_ns) if due_ns - since_ns > self._limit_ns]
        for joint in found:
            self._since_ns[joint] = due_ns - self._period_ns
        return found

    def latest_ns(self, due_ns: int) -> int:
        """Until when the setpoint that was made ready for the slot at `due_ns` may go out; later it is not sent.

        One that was lost before leaves less time: no joint goes on at speed later than a period beyond the limit.
        """
        return min(due_ns + OLDEST_NS, min(self._since_ns) + self._limit_ns + self._period_ns)
