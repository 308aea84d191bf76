"""The faults, as data: how each is made and mended, where it must lead, how soon, and the way back."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from benchmarks.faults.edge import SLOW_S
from benchmarks.faults.making import (
    EAT_S,
    Eater,
    Step,
    empty_disk,
    fill_disk,
    kill,
    memory_again,
    no_more_memory,
    nothing,
    order,
    pause,
    sim,
    small_disk,
)
from benchmarks.faults.rig import ENDED, Rig
from edge_runtime.config import Robot

RUN, COAST, HOLD, SAFE = "RUN", "COAST", "HOLD", "SAFE"
EATER = Eater()

Milliseconds = Callable[[Robot], float]


@dataclass(frozen=True)
class Due:
    """By when a fault is noticed, from robot.toml."""

    deadline: str
    """What notices it: a key of `[deadlines]`, or in words."""
    ms: Milliseconds
    """What is configured, from the fault on."""
    slack_ms: Milliseconds
    """One deadline: so much later is still in time."""


def _key(name: str, after_ms: float = 0.0) -> Due:
    """A deadline of robot.toml, which begins to run `after_ms`."""

    def figure(robot: Robot) -> float:
        return float(getattr(robot.deadlines, name))

    return Due(name, lambda robot: after_ms + figure(robot), figure)


def _period(robot: Robot) -> float:
    return 1e3 / robot.control.rate_hz


def _misses(robot: Robot) -> float:
    return robot.deadlines.serial_misses * _period(robot)


AT_ONCE = Due("one tick", _period, lambda robot: robot.deadlines.tick_ms)
GONE = Due("one cycle", _period, _misses)
MISSES = Due("serial_misses", _misses, _misses)
NEVER = Due("", lambda _: 0.0, lambda _: 0.0)


@dataclass(frozen=True)
class Case:
    """One fault."""

    name: str
    make: Step
    """Break something. The fault's time is when this is called."""
    due: Due
    shows: tuple[str, ...]
    """States, or counters that rise, any of which says that it was noticed; none where there is nothing to notice."""
    ends: tuple[str, ...]
    """Where it may lead in the end."""
    mend: Step = nothing
    back: tuple[str, ...] = ()
    """Commands that lead to READY; none where it goes on by itself. After `ENDED` the program is started anew."""
    coasts: bool = False
    """It finishes the chunk that it has before it stops."""
    aged: bool = False
    """Nothing newer than the fault can be seen: what still moves afterwards moves by old frames."""
    safe_at_speed: bool = False
    """The safe action comes in the midst of a motion: each goal becomes the joint's place, a step back by its lag."""
    limp: tuple[int, ...] = ()
    """Joints that the fault leaves without power: nobody can stop those."""
    watch_s: float = 4.0
    """How long it is watched at most."""
    around: Callable[[Rig], AbstractContextManager[None]] | None = None
    """What the program needs from its start on; it may raise `Skip`."""
    arguments: tuple[str, ...] = ()
    """What `edge run` is told besides."""

    @property
    def stops(self) -> bool:
        """Whether the arm is at rest in the end."""
        return RUN not in self.ends


def _inference(name: str, kind: str) -> Case:
    return Case(
        name, order(f"think {kind}"), _key("inference_ms"), (COAST,), (HOLD,),
        mend=order("think well"), back=("reset",), coasts=True, aged=True,
    )  # fmt: skip


def _camera(name: str, kind: str, target: str, deadline: str = "frame_age_ms") -> Case:
    return Case(
        name, sim(kind, target, on=True), _key(deadline), (COAST,), (HOLD,),
        mend=sim(kind, target, on=False), back=("reset",), coasts=True, aged=True,
    )  # fmt: skip


def _bus(name: str, kind: str, target: str = "", *, due: Due = MISSES, limp: tuple[int, ...] = ()) -> Case:
    return Case(
        name, sim(kind, target, on=True), due, (HOLD, SAFE), (SAFE,),
        mend=sim(kind, target, on=False), back=("reset", "arm"), limp=limp,
    )  # fmt: skip


def _stall(name: str, make: Step, seconds: float) -> Case:
    """Nothing of the program runs for a while: the first tick afterwards says so."""
    return Case(name, make, _key("tick_ms", 1e3 * seconds), ("tick late",), (RUN, COAST), watch_s=2.0)


def _ends(name: str, make: Step, due: Due) -> Case:
    return Case(name, make, due, (ENDED,), (ENDED,))


CASES = (
    _inference("inference stalls", "stall"),
    _inference("inference crashes", "crash"),
    replace(  # not `aged`: the safe action comes when everything has long been at rest
        _inference("inference never ends", "hang"),
        ends=(ENDED,), mend=nothing, back=(), aged=False, watch_s=14.0,
    ),
    replace(
        _inference(f"inference takes {SLOW_S:g} s more", "slow"),
        ends=(RUN, COAST), back=(), coasts=False, aged=False, watch_s=3.0,
    ),
    _camera("camera shows the same picture", "repeat_camera", "wrist", "frozen_ms"),
    _camera("camera without new frames", "freeze_camera", "wrist"),
    _camera("camera unplugged", "unplug_camera", "base"),
    _bus("servos silent", "silence"),
    _bus("status packets corrupt", "corrupt"),
    _bus("serial port unplugged", "unplug_port", due=GONE),
    _bus("servo drops out", "drop_servo", "elbow_flex", limp=(2,)),
    _bus("supply lost", "supply", limp=tuple(range(6))),
    Case("e-stop", lambda rig: rig.say("estop"), AT_ONCE, (HOLD,), (HOLD,), back=("reset",)),
    _stall("interpreter lock held 5 times 50 ms", order("grab 0.05", times=5), 0.05),
    _stall("interpreter lock held for 500 ms", order("grab 0.5"), 0.5),
    _stall("stopped for 0.3 s (SIGSTOP, SIGCONT)", pause(0.3), 0.3),
    Case("1 GiB written over and over", EATER.start, NEVER, (), (RUN, COAST), mend=EATER.wait, watch_s=EAT_S),
    Case("no more memory", no_more_memory, NEVER, (), (RUN, COAST), mend=memory_again, watch_s=3.0),
    Case(
        "disk full", fill_disk, Due("its next write", lambda _: 100.0, lambda _: 900.0), ("dropped steps",), (RUN,),
        mend=empty_disk, around=small_disk, arguments=("--record", "{disk}/recording"), watch_s=3.0,
    ),
    _ends("interpreter lock held for ever", order("grab 4000"), _key("stuck_ms")),
    replace(
        _ends("control thread fails", kill(signal.SIGUSR2), AT_ONCE), shows=(SAFE, ENDED), safe_at_speed=True,
    ),
    _ends("control thread blocked", kill(signal.SIGUSR1), _key("stuck_ms")),
    _ends("stopped for 3 s (SIGSTOP, SIGCONT)", pause(3.0), Due("stuck_ms", lambda _: 3e3, _key("stuck_ms").slack_ms)),
    _ends("kill -9", kill(signal.SIGKILL), Due("the kernel", lambda _: 0.0, _misses)),
)  # fmt: skip
