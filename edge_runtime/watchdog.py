"""The watchdog: every arrow of the frame's way has a deadline, and a late one is a counted, named event with a cause.

It only judges: times and counts go in, the happening that the state machine must be told of comes out. It reads no
clock, so the same figures always get the same verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge_runtime.buses import Line
from edge_runtime.config import Deadlines
from edge_runtime.events import Report
from edge_runtime.states import COAST, FAULTED, TASK, Happening, Mode, State

QUIET_NS = 1_000_000_000
"""What is late or fails again sooner than this after the last time is no new event: a bus that answers every other
cycle, or a machine that wakes every other tick late, would fill the record, and is counted anyway."""

HUNG, LOST = "inference hung", "device lost"
"""Names of the events that end the process."""


class Arrow:
    """One arrow's deadline. Being late counts once, and again after it was in time; it is no new event for `QUIET_NS`.

    `what` says it with a place for milliseconds: "inference in flight for {:.1f} ms".
    """

    def __init__(self, name: str, what: str, limit_ms: float, report: Report) -> None:
        self.name = name
        self.count = 0
        self.late = False
        self.cause = ""
        """What was late, how much, and what is allowed: of the last time."""
        self._what = what
        self._limit_ms = limit_ms
        self._limit_ns = limit_ms * 1e6
        self._late_ns = -QUIET_NS
        """When it was last late."""
        self._report = report

    def check(self, age_ns: int, now_ns: int) -> bool:
        """Whether `age_ns` is beyond the deadline."""
        late = age_ns > self._limit_ns
        if late and not self.late:
            self.count += 1
            self.cause = f"{self._what.format(age_ns / 1e6)}, limit {self._limit_ms:g} ms"
            if now_ns - self._late_ns >= QUIET_NS:
                self._report(self.name, self.cause)
        if late:
            self._late_ns = now_ns
        self.late = late
        return late


class Readings:
    """What the watchdog is told each tick; the control thread keeps one and fills it in."""

    def __init__(self, cameras: int) -> None:
        self.now_ns = 0
        self.lateness_ns = 0
        self.pressed = ""
        """Which e-stop is pressed, or was since the last tick."""
        self.refused = ""
        """The joints whose setpoints were no numbers."""
        self.strained = ""
        """Which joint has stalled or is overloaded, and how."""
        self.still = False
        """The present motion is over."""
        self.frame_ns = [0] * cameras
        """Capture time of each camera's newest frame."""
        self.frozen_ns = [0] * cameras
        """For how long each camera's picture has been the same although the arm has moved."""
        self.chunk_ns = 0
        """Capture time behind the running chunk; before the first, when the task began to wait for it."""
        self.chunk_over = False
        """The last action of the chunk was due."""
        self.inference_started_ns = 0
        """When the inference in flight began, 0 where none is."""
        self.inference_failure = ""
        """Why the last inference failed, empty where it did not."""
        self.device_lost = ""
        """Why the policy's device takes no more work from this process, empty while it does."""
        self.terminated = False
        """The policy said that the present task is done."""
        self.coasting_since_ns = 0
        self.hand_ns = 0
        """Time of the newest reading of the hand that drives in TAKEOVER."""


class Watchdog:
    """Judges the readings of one tick after another."""

    def __init__(self, deadlines: Deadlines, cameras: Sequence[str], lines: Sequence[Line], report: Report) -> None:
        self.cause = ""
        """Why the last happening happened."""
        self._lines = lines
        self._report = report
        self._missed_ns = [-QUIET_NS] * len(lines)
        """When each bus last failed a cycle."""
        self._serial_misses = deadlines.serial_misses
        self._tick = Arrow("tick late", "control tick woke {:.1f} ms late", deadlines.tick_ms, report)
        self._frames = [
            Arrow("frame late", f"newest frame of camera {name} is {{:.1f}} ms old", deadlines.frame_age_ms, report)
            for name in cameras
        ]
        frozen_ms = deadlines.frozen_ms or math.inf
        self._frozen = [
            Arrow("camera frozen", f"camera {name} has shown the same picture for {{:.1f}} ms", frozen_ms, report)
            for name in cameras
        ]
        self._chunk = Arrow("chunk late", "frame behind the chunk is {:.1f} ms old", deadlines.chunk_age_ms, report)
        self._inference = Arrow("inference late", "inference in flight for {:.1f} ms", deadlines.inference_ms, report)
        self._hung = Arrow(HUNG, "inference in flight for {:.1f} ms", deadlines.hung_ms, report)
        self._lost = 0
        self._coast = Arrow("coast late", "coasting for {:.1f} ms", deadlines.coast_ms, report)
        self._hand = Arrow("hand late", "newest reading of the hand is {:.1f} ms old", deadlines.hand_age_ms, report)
        self._of_task = (*self._frames, *self._frozen, self._chunk, self._inference, self._coast)

    def judge(self, mode: Mode, now: Readings) -> Happening | None:
        """What `now` means in `mode`, with `cause` saying why; None where all is well."""
        self._tick.check(now.lateness_ns, now.now_ns)
        silent = self._silent_bus(now.now_ns)
        if not mode.drives:
            return None
        if mode is FAULTED:
            return self._because(Happening.LOST, silent) if silent and now.still else None
        refused = f"setpoint of {now.refused} is not finite" if now.refused else ""
        if fault := now.pressed or silent or self._motor_fault() or refused or now.strained:
            return self._because(Happening.FAULT, fault)
        if self._hand.check(now.now_ns - now.hand_ns if mode.state is State.TAKEOVER else 0, now.now_ns):
            return self._because(Happening.FAULT, self._hand.cause)
        if now.terminated and (mode is TASK or mode is COAST):  # a task that is done has nothing left to be late
            return self._because(Happening.TERMINATED, "the policy says that the task is done")
        if mode is TASK:
            return self._running(now)
        if mode is COAST:
            return self._coasting(now)
        for arrow in self._of_task:
            arrow.late = False
        return None

    def hung(self, mode: Mode, now: Readings) -> str:
        """Why no inference will ever end again, empty where one may. In every mode, except that nobody who drives the
        arm by hand loses it for that."""
        flight_ns = 0 if mode.state is State.TAKEOVER else _flight_ns(now)
        return self._hung.cause if self._hung.check(flight_ns, now.now_ns) else ""

    def lost(self, mode: Mode, now: Readings) -> str:
        """Why the device takes no more work from this process, empty while it does, and in the mode of `hung` where a
        person drives: that is told, and ends nothing."""
        if now.device_lost and not self._lost:
            self._lost = 1
            self._report(LOST, now.device_lost)
        return "" if mode.state is State.TAKEOVER else now.device_lost

    def _running(self, now: Readings) -> Happening | None:
        late = self._late(now)
        return self._because(Happening.LATE, late) if late else None

    def _coasting(self, now: Readings) -> Happening | None:
        late = self._late(now)
        if not late:
            return self._because(Happening.FRESH, "every arrow is in time again")
        if now.still and now.chunk_over:
            return self._because(Happening.FAULT, f"nothing left to coast on: {late}")
        if self._coast.check(now.now_ns - now.coasting_since_ns, now.now_ns):
            return self._because(Happening.FAULT, self._coast.cause)
        return None

    def _late(self, now: Readings) -> str:
        """The cause of the first arrow that is late. All are asked, so that each is counted."""
        cause = now.inference_failure
        if self._inference.check(_flight_ns(now), now.now_ns):
            cause = cause or self._inference.cause
        for arrow, capture_ns in zip(self._frames, now.frame_ns, strict=True):
            if arrow.check(now.now_ns - capture_ns, now.now_ns):
                cause = cause or arrow.cause
        for arrow, frozen_ns in zip(self._frozen, now.frozen_ns, strict=True):
            if arrow.check(frozen_ns, now.now_ns):
                cause = cause or arrow.cause
        if self._chunk.check(now.now_ns - now.chunk_ns, now.now_ns):
            cause = cause or self._chunk.cause
        return cause or ("the last action of the chunk was due" if now.chunk_over else "")

    def _silent_bus(self, now_ns: int) -> str:
        """Which bus has failed too often in a row, and how. A miss after `QUIET_NS` without one is an event."""
        silent = ""
        for index, line in enumerate(self._lines):
            if line.misses:
                if now_ns - self._missed_ns[index] >= QUIET_NS:
                    self._report("serial miss", line.trouble)
                self._missed_ns[index] = now_ns
            if line.misses and (line.gone or line.misses >= self._serial_misses):
                line.lost = line.lost or line.trouble
                how = "" if line.gone else f"{line.misses} serial cycles in a row failed: "
                silent = silent or f"{how}{line.trouble}"
        return silent

    def _motor_fault(self) -> str:
        return next((line.fault for line in self._lines if line.fault), "")

    def _because(self, happening: Happening, cause: str) -> Happening:
        self.cause = cause
        return happening

    def counts(self) -> dict[str, int]:
        """How often each arrow became late: {"frame late": 2}."""
        counts = {LOST: self._lost}
        for arrow in (self._tick, self._hand, self._hung, *self._of_task):
            counts[arrow.name] = counts.get(arrow.name, 0) + arrow.count
        return counts


def _flight_ns(now: Readings) -> int:
    return now.now_ns - now.inference_started_ns if now.inference_started_ns else 0
