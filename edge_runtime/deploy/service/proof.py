"""Whether the service has proved itself since it started: ticks in a row in time, with motors and cameras there.

It reads the counts that the loop keeps anyway, so that a control tick does nothing for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edge_runtime.deploy.places import HEALTHY_TICKS
from edge_runtime.deploy.service.self_test import SelfTest
from edge_runtime.report import quantiles
from edge_runtime.session import Session

PATIENCE = 10
"""After so many times as many ticks without a proof, it says what keeps it from one."""


class Proof:
    """`look` a few times a second, on any one thread."""

    def __init__(self, session: Session, self_test: SelfTest) -> None:
        self._session = session
        self._self_test = self_test
        self._late = self._count()
        self._since = 0
        """Ticks in all when the last was seen that was not in time."""
        self._last = "none"

    def look(self) -> bool:
        """Whether it has proved itself."""
        late = self._count()
        for name, count in late.items():
            if count != self._late[name]:
                self._since, self._last = self._session.ticks.total, name
        self._late = late
        return self._session.ticks.total - self._since >= HEALTHY_TICKS and not any(self._doubts())

    @property
    def overdue(self) -> bool:
        """It should have by now."""
        return self._session.ticks.total >= PATIENCE * HEALTHY_TICKS

    def text(self) -> str:
        """What was proved, for a person."""
        late_us = self._lateness_us()["p99"] or 0.0
        return f"{HEALTHY_TICKS} ticks in a row in time, at p99 {late_us / 1e3:.1f} ms late"

    def lacks(self) -> str:
        """What is missing, in words."""
        ran = self._session.ticks.total - self._since
        if ran < HEALTHY_TICKS:
            return f"not {HEALTHY_TICKS} ticks in a row in time: {ran} since the last that was not ({self._last})"
        return "; ".join(self._doubts())

    def facts(self) -> dict[str, Any]:
        """For a program: what was proved."""
        loop = self._session.loop
        return {
            "ticks": self._session.ticks.total,
            "missed": loop.pacer.missed,
            "lateness_us": self._lateness_us(),
            "inference_ms": self._self_test.inference_ms,
            "self_test": self._self_test.facts(),
        }

    def _doubts(self) -> Iterator[str]:
        """What is not as it should be although no count shows it."""
        deadlines, now_ns = self._session.robot.deadlines, self._session.clock.now_ns()
        yield from (f"bus {line.name} is lost: {line.lost}" for line in self._session.loop.buses.lines if line.lost)
        for camera in self._session.cameras:
            if now_ns - camera.capture_ns > deadlines.frame_age_ms * 1e6:
                yield f"camera {camera.name} gives no frames"
        late_us = self._lateness_us()["p99"]
        if late_us is not None and late_us > deadlines.tick_ms * 1e3:
            yield f"ticks are {late_us / 1e3:.1f} ms late at p99, deadlines.tick_ms is {deadlines.tick_ms:g}"
        if self._self_test.inference_ms > deadlines.inference_ms:
            yield (
                f"an inference takes {self._self_test.inference_ms:.1f} ms, "
                f"deadlines.inference_ms is {deadlines.inference_ms:g}"
            )

    def _lateness_us(self) -> dict[str, float | None]:
        """Of the last `HEALTHY_TICKS`."""
        ticks = self._session.ticks
        found = quantiles(ticks.lateness_ns[ticks.order()[-HEALTHY_TICKS:]], 1e3)
        return {name: found[name] for name in ("p50", "p99", "max")}

    def _count(self) -> dict[str, int]:
        """Everything that says that a tick was not in time."""
        loop = self._session.loop
        return {"slot missed": loop.pacer.missed, "tick late": loop.watchdog.counts()["tick late"]}
