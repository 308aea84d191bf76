"""Torque: whether it may be on because of us, and the calls that change it, which take many ticks each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from drivers.errors import DriverError
from edge_runtime.buses import ACTION_NS, CALLS, Buses, Line
from edge_runtime.errors import CommandError
from edge_runtime.events import Report
from edge_runtime.pacer import Pacer

Pet = Callable[[float], None]
"""Tells the stuck timer how many seconds the control thread may take from now."""


class Torque:
    """Owned by the control thread. Raises `DriverError` where torque is in doubt afterwards."""

    def __init__(self, *, buses: Buses, pacer: Pacer, report: Report, pet: Pet) -> None:
        self._buses = buses
        self._pacer = pacer
        self._report = report
        self._pet = pet
        self.ours = False
        """It may be on because of us: whatever ends the loop must do the safe action first."""

    def take(self) -> None:
        """Switch it on where the arm is now, whatever the arm was told before."""
        self.reconnect()
        self.ours = True
        with self._outside_the_tick():
            self._buses.enable_torque()

    def let_go(self) -> None:
        """Switch it off."""
        with self._outside_the_tick():
            self._buses.disable_torque()
        self.ours = False

    def make_safe(self) -> None:
        """Each motor's declared safe action, where torque may be on by us; ours until all buses confirmed it."""
        if not self.ours:
            return
        with self._outside_the_tick():
            failures = self._buses.safe_action()
        for failure in failures:
            self._report("safe action failed", failure)
        self.ours = bool(failures)

    def reconnect(self) -> None:
        """Connect again the buses that fail. Raises `CommandError`: nothing has changed then."""
        try:
            with self._outside_the_tick():
                self._buses.reconnect()
        except DriverError as error:
            raise CommandError(f"no connection: {error}") from error

    def renew(self, line: Line) -> None:
        """Connect one lost bus again. Raises `DriverError`."""
        with self._outside_the_tick():
            self._buses.renew(line)

    @contextmanager
    def _outside_the_tick(self) -> Iterator[None]:
        """No slot is due meanwhile, and the stuck timer waits for as long as the calls may take."""
        self._pet(1.0 + CALLS * ACTION_NS / 1e9 * len(self._buses.lines))
        try:
            yield
        finally:
            self._pacer.begin()
