"""Buses that were lost are tried again while nothing is driven: a cable is plugged in, a supply is switched on.

A try blocks the control thread while no arm is commanded anyway: for a moment where the port is absent, for up to a
second where it is there and no motor answers. A bus that is back has the same motors with the same calibration, or it
is not taken; what the arm does then waits for a person's reset.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.errors import DriverError
from edge_runtime.buses import Line
from edge_runtime.clock import Clock
from edge_runtime.events import Report
from edge_runtime.states import SAFE, Command, Mode
from edge_runtime.torque import Torque

BACKOFF_NS = (500_000_000, 1_000_000_000, 2_000_000_000, 5_000_000_000)
"""Waits before the tries; the last one from then on."""


class _Tries:
    """When one bus is tried next."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.count = 0
        self.next_ns = 0

    def due(self, now_ns: int) -> bool:
        """Whether it is lost and has waited long enough; the first wait begins when this is first asked."""
        if not self.line.lost:
            self.count, self.next_ns = 0, 0
            return False
        self.next_ns = self.next_ns or now_ns + BACKOFF_NS[0]
        return now_ns >= self.next_ns


class Recovery:
    """Owned by the control thread."""

    def __init__(self, lines: Sequence[Line], torque: Torque, clock: Clock, report: Report) -> None:
        self._tries = [_Tries(line) for line in lines]
        self._torque = torque
        self._clock = clock
        self._report = report

    def attempt(self, mode: Mode) -> None:
        """Try each lost bus that is due; the safe action that a returned one still owes is done at once."""
        for tries in self._tries:
            if tries.due(self._clock.now_ns()):
                self._try(tries, Command.RESET if mode is SAFE else Command.ARM)

    def _try(self, tries: _Tries, onward: Command) -> None:
        try:
            self._torque.renew(tries.line)
        except DriverError as error:
            if tries.line.lost != str(error):  # the same reason again is no event
                self._report("no connection", str(error))
            tries.line.lost = str(error)
            tries.count = min(tries.count + 1, len(BACKOFF_NS) - 1)
            tries.next_ns = self._clock.now_ns() + BACKOFF_NS[tries.count]
            return
        back = f"{tries.line.name}: the same motors with the same calibration"
        self._report("bus back", f"{back}; {onward.value} to go on")
        self._torque.make_safe()
