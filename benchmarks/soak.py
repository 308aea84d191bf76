"""A million control ticks: does anything grow, does the grid of deadlines drift, is an event lost?

    python -m benchmarks.soak [--ticks 1000000] [--traced 100000] [--json FILE]

The real control loop runs on a simulated clock and the null bus, so that hours of ticks take minutes: it follows
chunks, a person stops it, resumes it, ends the task and starts the next. The clock wakes it late, now and then by
several periods. Events are drained by another thread, as in a run. Memory is what the kernel says (/proc/self/statm),
once a tenth of the ticks has gone. Then come as many ticks as are to be traced, to count page faults, and as many again
under tracemalloc. Exit code 1 where something is not as it should be.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.progress import track

from drivers.motors import null
from edge_runtime import page_faults
from edge_runtime.bench import simulated
from edge_runtime.clock import FakeClock
from edge_runtime.config import Robot
from edge_runtime.devices import bus_settings
from edge_runtime.events import EventQueue
from edge_runtime.files import write_whole
from edge_runtime.link import Link, Order
from edge_runtime.loop import ControlLoop
from edge_runtime.policies.base import Prompt
from edge_runtime.recorder import Ticks
from edge_runtime.states import READY, TASK, Command

RATE_HZ = 200.0
HORIZON, DT_NS = 32, 33_333_333
CHUNK_TICKS = 10
FRAME_AGE_NS = 30_000_000
LATE_NS, STALL, STALL_TICKS = 50_000, 3.5, 10_000
"""Mean lateness of a wake-up, and of every so many one that is late by so many periods."""
TASK_TICKS, PAUSE_TICKS = 1_000, 400
AHEAD_NS = 60_000_000_000
"""How far the simulated clock is ahead of the real one, by which the null bus goes."""
LONGEST = 5_000
"""Ticks that a step of the story may take."""
GROWN_BYTES = 256 << 10
"""Of resident memory over all ticks: one arena of Python's allocator, which comes and goes by itself."""
TRACED_BYTES = 4 << 10
"""Of Python's memory over the traced ticks: integers that have got longer, a deque's spare block."""


class LateClock(FakeClock):
    """Wakes whoever sleeps on it late: by little as a rule, by several periods seldom."""

    def __init__(self, period_ns: int) -> None:
        super().__init__(time.monotonic_ns() + AHEAD_NS)
        self._stall_ns = int(STALL * period_ns)
        self._late_ns = np.random.default_rng(0).exponential(LATE_NS, STALL_TICKS).astype(int).tolist()
        self._late_ns[-1] = self._stall_ns
        self._next = cycle(self._late_ns).__next__

    def sleep_until(self, deadline_ns: int) -> None:
        super().sleep_until(deadline_ns)
        self.advance(self._next())


class Frames:
    """A camera whose newest frame is always fresh."""

    frozen_ns = 0

    def __init__(self, name: str, clock: FakeClock) -> None:
        self.name = name
        self._clock = clock

    @property
    def capture_ns(self) -> int:
        return self._clock.now_ns() - FRAME_AGE_NS


class Counted(EventQueue):
    """Counts what was reported, and on another thread what arrives."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.reported = self.arrived = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def report(self, name: str, cause: str) -> None:
        self.reported += 1
        super().report(name, cause)

    def finish(self) -> None:
        """Take what is left."""
        self._over.set()
        self._thread.join()
        self.arrived += sum(1 for _ in self.drain())

    def _drain(self) -> None:
        while not self._over.wait(0.05):
            self.arrived += sum(1 for _ in self.drain())


class Rig:
    """The loop and whatever else there is of a robot."""

    def __init__(self) -> None:
        robot = _robot()
        self.clock = LateClock(round(1e9 / RATE_HZ))
        self.events = Counted(self.clock)
        self.bus = null.Bus(bus_settings(robot.buses[0]))
        self.link = Link(HORIZON, len(robot.joints), DT_NS)
        self.loop = ControlLoop(
            robot,
            buses=[self.bus],
            cameras=[Frames(camera.name, self.clock) for camera in robot.cameras],
            link=self.link,
            events=self.events,
            clock=self.clock,
            ticks=Ticks(int(60 * RATE_HZ), len(robot.joints)),
            pet=lambda _: None,
        )
        self.orders = self.answered = self.ticks = 0
        self._wave = np.sin(np.arange(HORIZON) / 6.0)[:, None] * 0.05
        self._prompt = Prompt("soak", np.zeros(1, np.int64), np.ones(1, np.bool_))
        self._story = self._tell()
        self.loop.buses.connect()
        self.loop.pacer.begin()
        self._do(Command.ARM)
        self._until(lambda: self.loop.director.mode == READY)
        self.began_ns, self.began_ticks, self.began_missed = self.loop.pacer.due_ns, self.ticks, self.loop.pacer.missed

    def run(self, ticks: int) -> None:
        """So many ticks, whatever happens in them."""
        end = self.ticks + ticks
        while self.ticks < end:
            next(self._story)

    def tick(self) -> None:
        loop = self.loop
        loop.pacer.wait()
        loop.tick()
        self.ticks += 1
        if self.ticks % CHUNK_TICKS == 0:
            self._publish()
            self.bus.forget()

    @property
    def drift_ns(self) -> int:
        """How far the slots are from where they were to be when counting began."""
        pacer = self.loop.pacer
        slots = self.ticks - self.began_ticks + pacer.missed - self.began_missed
        return pacer.due_ns - self.began_ns - slots * pacer.period_ns

    def _publish(self) -> None:
        """A chunk as inference would give it, from where the arm is."""
        chunk, now_ns = self.link.chunks.back, self.clock.now_ns()
        chunk.request, chunk.sequence = self.link.request.number, chunk.sequence + 1
        chunk.capture_ns = chunk.observed_ns = chunk.start_ns = now_ns - FRAME_AGE_NS
        chunk.ready_ns = now_ns
        np.add(self.loop.limiter.position_rad, self._wave, out=chunk.actions)
        self.link.chunks.publish()

    def _tell(self) -> Iterator[None]:
        """Tasks, stopped and resumed, done, and the next; it yields once a tick."""
        while True:
            yield from self._step(Command.TASK, lambda: self.loop.director.mode == TASK)
            yield from self._wait(TASK_TICKS)
            yield from self._step(Command.STOP, lambda: self.loop.director.still)
            yield from self._wait(PAUSE_TICKS)
            yield from self._step(Command.RESUME, lambda: self.loop.director.mode == TASK)
            yield from self._wait(TASK_TICKS)
            yield from self._step(Command.DONE, lambda: self.loop.director.mode == READY)

    def _step(self, command: Command, reached: Callable[[], bool]) -> Iterator[None]:
        order = self._do(command)
        for _ in range(LONGEST):
            self.tick()
            yield
            if order.answer is not None and reached():
                break
        if order.answer != "":
            raise RuntimeError(f"{command.value} in {self.loop.director.mode}: {order.answer or 'never answered'}")
        self.answered += 1

    def _wait(self, ticks: int) -> Iterator[None]:
        for _ in range(ticks):
            self.tick()
            yield

    def _do(self, command: Command) -> Order:
        order = Order(command, self._prompt if command is Command.TASK else None)
        self.orders += 1
        self.loop.orders.append(order)
        return order

    def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self.tick()
        self.answered += 1


def _robot() -> Robot:
    """The simulated arm's limits, on the null bus."""
    robot = simulated(Path(tempfile.gettempdir()), Path("bundle"), RATE_HZ)
    change = msgspec.structs.replace
    return change(robot, buses=tuple(change(bus, kind="null", port="follow") for bus in robot.buses))


def soak(ticks: int, traced: int) -> dict[str, Any]:
    """Run, and say what was found."""
    rig = Rig()
    gc.collect()
    gc.freeze()
    gc.disable()
    began_s, resident = time.monotonic(), []
    for _ in track(range(100), "ticks", transient=True):
        rig.run(ticks // 100)
        resident.append(_resident_bytes())
    seconds, warm = time.monotonic() - began_s, resident[10:]
    faults = page_faults.of_thread(threading.get_native_id())
    rig.run(traced)
    now = page_faults.of_thread(threading.get_native_id())
    grown = _traced(rig, traced)
    rig.events.finish()
    return {
        "ticks": rig.ticks,
        "simulated_h": round(rig.ticks / RATE_HZ / 3600, 2),
        "seconds": round(seconds, 1),
        "resident_bytes": {"before": warm[0], "after": warm[-1], "most": max(warm)},
        "page_faults": {"ticks": traced, "minor": now.minor - faults.minor, "major": now.major - faults.major},
        "traced": {"ticks": traced, "bytes": grown},
        "missed": rig.loop.pacer.missed,
        "drift_ns": rig.drift_ns,
        "events": {"reported": rig.events.reported, "arrived": rig.events.arrived},
        "orders": {"given": rig.orders, "answered": rig.answered},
        "episodes": rig.loop.director.episodes,
    }


def _traced(rig: Rig, ticks: int) -> int:
    """Bytes of Python's that so many ticks leave behind, once as many have warmed tracemalloc itself up."""
    tracemalloc.start()
    try:
        rig.run(ticks // 10)
        before = tracemalloc.get_traced_memory()[0]
        rig.run(ticks)
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def _resident_bytes() -> int:
    """The second figure of /proc/self/statm (proc(5)), in pages."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def wrong(found: dict[str, Any]) -> Iterator[str]:
    """What is not as it should be."""
    memory = found["resident_bytes"]
    if memory["after"] - memory["before"] > GROWN_BYTES:
        yield f"memory has grown by {(memory['after'] - memory['before']) >> 10} KiB"
    if found["traced"]["bytes"] > TRACED_BYTES:
        yield f"{found['traced']['ticks']} ticks left {found['traced']['bytes']} bytes behind"
    if found["drift_ns"]:
        yield f"the grid has drifted by {found['drift_ns']} ns"
    if found["events"]["reported"] != found["events"]["arrived"]:
        yield f"events: {found['events']}"
    if found["orders"]["given"] - found["orders"]["answered"] > 1:  # one may be under way
        yield f"orders: {found['orders']}"


def words(found: dict[str, Any]) -> Iterator[str]:
    """What was found, for people."""
    kib = {name: size >> 10 for name, size in found["resident_bytes"].items()}
    faults, traced = found["page_faults"], found["traced"]
    yield f"{found['ticks']} ticks, {found['simulated_h']} h of them, {found['episodes']} tasks, {found['seconds']} s"
    yield f"memory {kib['before']} KiB after a tenth, {kib['after']} KiB at the end, {kib['most']} KiB at most"
    yield f"page faults in {faults['ticks']} ticks: {faults['minor']} minor, {faults['major']} major"
    yield f"left behind by {traced['ticks']} ticks under tracemalloc: {traced['bytes']} bytes"
    yield f"{found['missed']} slots skipped; the grid is off by {found['drift_ns']} ns"
    yield f"events {found['events']}, orders {found['orders']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ticks", type=int, default=1_000_000)
    parser.add_argument("--traced", type=int, default=100_000)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures for programs")
    options = parser.parse_args()
    found = soak(options.ticks, options.traced)
    print("\n".join(words(found)))
    problems = list(wrong(found))
    print("\n".join(problems) or "everything is as it should be")
    if options.json is not None:
        write_whole(options.json, json.dumps(found, indent=2) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
