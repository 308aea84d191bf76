"""Torque: whether it may be on because of us, and the calls that change it, which take many ticks each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from drivers.errors import DriverError
from drivers.motors.base import SafeAction
from edge_runtime.buses import ACTION_NS, CALLS, Buses, Line
from edge_runtime.errors import CommandError
from edge_runtime.events import Report
from edge_runtime.pacer import Pacer

Pet = Callable[[float], None]
"""Tells the stuck timer how many seconds the control thread may take from now."""


def longest_call_s(lines: int) -> float:
    """How long the control thread may be away from its ticks for one call on all of `lines` buses."""
    return 1.0 + CALLS * ACTION_NS / 1e9 * lines


class Torque:
    """Owned by the control thread. Raises `DriverError` where torque is in doubt afterwards."""

    def __init__(self, *, buses: Buses, pacer: Pacer, report: Report, pet: Pet) -> None:
        self._buses = buses
        self._pacer = pacer
        self._report = report
        self._pet = pet
        self.ours = False
        """It may be on because of us: whatever ends the loop must do the safe action first."""
        self._on = False
        """Every motor was switched on by us, and none was let go since but by the safe action."""
        self._made_safe = False
        """The safe action was the last that was done, confirmed or not."""

    def take(self) -> None:
        """Switch it on where the arm is now, whatever the arm was told before."""
        self.reconnect()
        self.ours, self._on, self._made_safe = True, False, False
        with self._outside_the_tick():
            self._buses.enable_torque()
        self._on = True

    def let_go(self) -> None:
        """Switch it off."""
        self._on = False
        with self._outside_the_tick():
            self._buses.disable_torque()
        self.ours = self._made_safe = False

    def make_safe(self) -> None:
        """Each motor's declared safe action, where torque may be on by us; ours until all buses confirmed it."""
        if not self.ours:
            return
        with self._outside_the_tick():
            failures = self._buses.safe_action()
        for failure in failures:
            self._report("safe action failed", failure)
        self.ours = bool(failures)
        self._made_safe = True

    def words(self, joints: Sequence[str]) -> str:
        """What this run knows of the torque of `joints`, which are all of the robot's, for people."""
        if not self._made_safe:
            return "taken by this run" if self.ours else "not taken by this run"
        found: dict[str, list[str]] = {}
        motors = ((line.safe, motor.safe) for line in self._buses.lines for motor in line.bus.settings.motors)
        for joint, (confirmed, action) in zip(joints, motors, strict=True):
            found.setdefault(self._state(confirmed, action), []).append(joint)
        if len(found) == 1:
            return next(iter(found))
        return "; ".join(f"{state}: {', '.join(names)}" for state, names in found.items())

    def _state(self, confirmed: bool, action: SafeAction) -> str:
        """What the safe action has made of one joint: one that is to hold stays limp where it had no torque."""
        if confirmed and action == "release":
            return "let go by the safe action"
        return "held by the safe action" if confirmed and self._on else "in doubt"

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
        self._pet(longest_call_s(len(self._buses.lines)))
        try:
            yield
        finally:
            self._pacer.begin()
