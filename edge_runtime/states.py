"""The states of the robot and every way from one to another, as data.

A mode is a state and the phase of the episode in it. HOLD with a phase was commanded (`stop`) and may be resumed; HOLD
without one is a fault's and, like SAFE, stays until a person says otherwise. A mode without a row for a trigger refuses
it. TAKEOVER with a phase interrupts a task, which the hand-back goes on with.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from edge_runtime.errors import CommandError


class State(IntEnum):
    """Where the robot is between lying still and moving by itself."""

    DISARMED = 0
    """Torque off, or holding as it was found. Nothing is written."""
    READY = 1
    """Armed and still, no task."""
    RUN = 2
    """Moving."""
    COAST = 3
    """Finishing the current chunk because the next is late."""
    HOLD = 4
    """Stopping, or stopped, with torque."""
    SAFE = 5
    """Each motor's declared safe action is done. Nothing is written."""
    TAKEOVER = 6
    """A person drives."""


class Phase(str, Enum):
    """What an episode is at."""

    NONE = ""
    TO_START = "to_start"
    TASK = "task"
    PARK = "park"


class Command(str, Enum):
    """What a person may say."""

    ARM = "arm"
    DISARM = "disarm"
    TASK = "task"
    STOP = "stop"
    RESUME = "resume"
    RESET = "reset"
    DONE = "done"
    TAKEOVER = "takeover"
    HANDBACK = "handback"
    ESTOP = "estop"


class Happening(str, Enum):
    """What may happen by itself."""

    ARRIVED = "arrived"
    """At the end of a move, nothing to do."""
    BEGIN = "begin"
    """At the end of a move, a task waiting."""
    TIMEOUT = "timeout"
    TERMINATED = "terminated"
    """The policy says that the task is done."""
    LATE = "late"
    """An arrow of the frame's way is late."""
    FRESH = "fresh"
    """None is late any more."""
    FAULT = "fault"
    """Motion must stop."""
    LOST = "lost"
    """Motion cannot be commanded any more."""


Trigger = Command | Happening


class Mode(NamedTuple):
    """A state and the phase of the episode in it."""

    state: State
    phase: Phase = Phase.NONE

    def __str__(self) -> str:
        return f"{self.state.name} ({self.phase.value})" if self.phase.value else self.state.name

    @property
    def drives(self) -> bool:
        """Whether setpoints are written."""
        return self.state not in (State.DISARMED, State.SAFE)


DISARMED = Mode(State.DISARMED)
READY = Mode(State.READY)
TO_START = Mode(State.RUN, Phase.TO_START)
TASK = Mode(State.RUN, Phase.TASK)
PARK = Mode(State.RUN, Phase.PARK)
TAKEN = Mode(State.TAKEOVER)
TAKEN_TASK = Mode(State.TAKEOVER, Phase.TASK)
COAST = Mode(State.COAST, Phase.TASK)
HELD_TO_START = Mode(State.HOLD, Phase.TO_START)
HELD_TASK = Mode(State.HOLD, Phase.TASK)
HELD_PARK = Mode(State.HOLD, Phase.PARK)
FAULTED = Mode(State.HOLD)
SAFE = Mode(State.SAFE)

_C, _H = Command, Happening
_BAD: dict[Trigger, Mode] = {_C.ESTOP: FAULTED, _H.FAULT: FAULTED, _H.LOST: SAFE}
_ENDS: dict[Trigger, Mode] = {_C.DONE: PARK, _H.TERMINATED: PARK, _H.TIMEOUT: PARK}
_HELD: dict[Trigger, Mode] = {_C.RESET: READY, _C.DISARM: DISARMED, **_BAD}
_TASK: dict[Trigger, Mode] = {_C.STOP: HELD_TASK, _C.TAKEOVER: TAKEN_TASK, **_ENDS, **_BAD}
_IDLE = (_C.DISARM, _C.STOP, _C.RESET, _C.ESTOP)
_MOVE: dict[Trigger, Mode] = {_C.TAKEOVER: TAKEN, _H.ARRIVED: READY, **_BAD}

TRANSITIONS: Mapping[Mode, Mapping[Trigger, Mode]] = MappingProxyType(
    {
        DISARMED: {_C.ARM: TO_START, **dict.fromkeys(_IDLE, DISARMED), _H.LOST: SAFE},
        READY: {_C.TASK: TO_START, _C.STOP: READY, _C.DISARM: DISARMED, _C.TAKEOVER: TAKEN, **_BAD},
        TO_START: {_C.TASK: TO_START, _C.STOP: HELD_TO_START, _H.BEGIN: TASK, **_MOVE},
        TASK: {_C.TASK: TASK, _H.LATE: COAST, **_TASK},
        COAST: {_C.TASK: COAST, _H.FRESH: TASK, **_TASK},
        PARK: {_C.TASK: PARK, _C.STOP: HELD_PARK, _H.BEGIN: TO_START, **_MOVE},
        TAKEN: {_C.STOP: READY, _C.HANDBACK: READY, **_BAD},
        TAKEN_TASK: {_C.STOP: HELD_TASK, _C.HANDBACK: TASK, _C.DONE: PARK, **_BAD},
        HELD_TO_START: {_C.STOP: HELD_TO_START, _C.RESUME: TO_START, _C.TAKEOVER: TAKEN, **_HELD},
        HELD_TASK: {_C.STOP: HELD_TASK, _C.RESUME: TASK, _C.TAKEOVER: TAKEN_TASK, **_HELD},
        HELD_PARK: {_C.STOP: HELD_PARK, _C.RESUME: PARK, _C.TAKEOVER: TAKEN, **_HELD},
        FAULTED: {_C.STOP: FAULTED, **_HELD},
        SAFE: {_C.STOP: SAFE, _C.ESTOP: SAFE, _C.RESET: DISARMED, _H.LOST: SAFE},
    }
)


class Machine:
    """The present mode, and the time spent in each state."""

    def __init__(self, now_ns: int) -> None:
        self.mode = DISARMED
        self._since_ns = now_ns
        self._spent_ns = np.zeros(len(State), dtype=np.int64)

    def allowed(self) -> tuple[str, ...]:
        """Names of the commands that the present mode takes."""
        return tuple(c.value for c in Command if c in TRANSITIONS[self.mode])

    def check(self, command: Command) -> None:
        """Raise `CommandError`, which says what is allowed now, where the present mode does not take `command`."""
        if command not in TRANSITIONS[self.mode]:
            raise CommandError(f"allowed now: {', '.join(self.allowed())}")

    def fire(self, trigger: Trigger, now_ns: int) -> Mode:
        """Go where `trigger` leads from the present mode, and say where that is."""
        self._spent_ns[self.mode.state] += now_ns - self._since_ns
        self._since_ns = now_ns
        self.mode = TRANSITIONS[self.mode][trigger]
        return self.mode

    def seconds(self, now_ns: int) -> dict[str, float]:
        """Time spent in each state up to now."""
        spent = self._spent_ns.copy()
        spent[self.mode.state] += now_ns - self._since_ns
        return {state.name: float(spent[state]) / 1e9 for state in State}
