"""One fault from its beginning to the way back, and what the trace of it says."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults import bounds, boxes
from benchmarks.faults.bounds import Trace
from benchmarks.faults.cases import COAST, HOLD, RUN, SAFE, Case
from benchmarks.faults.making import Skip
from benchmarks.faults.rig import ENDED, Rig, Seen
from benchmarks.faults.sway import FASTEST_RAD_S
from edge_runtime.errors import EdgeError

BEFORE_S = 2.0
"""How long the arm has been at its task when something breaks."""
MIDST_S, MIDST_SHARE, MIDST_LIMIT_S = 0.1, 0.8, 20.0
"""It breaks while the fastest joint has moved for so long at this share of its highest speed; that comes by then."""
SETTLE_S = 0.6
"""How long the end is looked at: the longest stop and the servos' lag are over by then."""
PROOF_S = 1.0
"""How long it has to run after the way back, moving."""
LOOK_MS = 40.0
"""How much later than it happened a change of state may be seen from outside: a look every 10 ms, and an answer of the
housekeeping thread, which sleeps for up to 5 ms and waits for the interpreter lock."""


@dataclass
class Result:
    """A row of the table. Angles in rad, times in ms from the fault on."""

    name: str
    skipped: str = ""
    path: list[str] = field(default_factory=list)
    """States, in their order."""
    cause: str = ""
    deadline: str = ""
    due_ms: float = 0.0
    allowed_ms: float = 0.0
    """The figure, one deadline more, and what looking takes."""
    detected_ms: float | None = None
    rest_ms: float | None = None
    """When all joints were where they end."""
    joint: str = ""
    """That one which came nearest to its bound."""
    moved_rad: float | None = None
    bound_rad: float | None = None
    stop_rad: float | None = None
    """How far that joint went that came nearest to its bound, from the first look that found it stopping."""
    stop_bound_rad: float | None = None
    closest_ms: float = 1e3
    """Shortest time between two setpoints while it drives."""
    longest_step: float = 0.0
    """Longest step from one setpoint to the next as a share of velocity·period."""
    back: list[str] = field(default_factory=list)
    back_s: float | None = None
    """From the first command to the midst of a task."""
    counted: dict[str, int] = field(default_factory=dict)
    """By how much the program's own counters have risen between the fault and its end."""
    black_boxes: int = 0
    """Files that it has left."""
    broken: list[str] = field(default_factory=list)
    """Bounds that were not kept."""

    def plain(self) -> dict[str, Any]:
        """For a JSON file."""
        return asdict(self)


def run(case: Case, rig: Rig) -> Result:
    """Make the fault, watch, mend, go back, judge. `EdgeError` where it does not even come to the fault."""
    result = Result(case.name, deadline=case.due.deadline)
    with ExitStack() as around:
        try:
            if case.around is not None:
                rig.end()
                around.enter_context(case.around(rig))
        except Skip as reason:
            result.skipped = str(reason)
            return result
        if not rig.runs:
            rig.start(*(argument.format(disk=rig.disk) for argument in case.arguments))
        _trial(case, rig, result)
        if case.around is not None:
            rig.end()
    return result


def _trial(case: Case, rig: Rig, result: Result) -> None:
    time.sleep(BEFORE_S)
    before = _midst(rig)
    files = boxes.files(rig.config)
    fault_ns = time.monotonic_ns()
    case.make(rig)
    seen = rig.watch(_enough(case, before), case.watch_s)
    time.sleep(SETTLE_S)
    seen.append(rig.look())
    end_ns = time.monotonic_ns()
    proof_ns = end_ns
    try:
        proof_ns = _go_back(case, rig, result)
    except EdgeError as error:
        result.broken.append(f"no way back: {error}")
        rig.drop()  # the next fault has a program of its own
    rows = rig.rows(fault_ns - int(BEFORE_S * 1e9))
    trace = Trace(rows).between(0, end_ns)
    _black_boxes(case, rig, result, before, seen, files)
    _states(case, rig, result, before, seen, fault_ns)
    _motion(case, rig, result, trace, fault_ns)
    _stop(case, rig, result, trace, seen, fault_ns)
    for driven in (trace, Trace(rows).between(proof_ns, time.monotonic_ns())):
        _setpoints(case, rig, result, driven)


def _black_boxes(case: Case, rig: Rig, result: Result, before: Seen, seen: list[Seen], files: set[Path]) -> None:
    """What the fault has left there; a program that was started since then counts anew."""
    wanted = boxes.due(seen)
    result.black_boxes = boxes.new(rig.config, files, wanted)
    counted = rig.look().counters.get(boxes.FAILED, 0) if rig.runs else 0
    earlier = 0 if ENDED in case.ends else before.counters.get(boxes.FAILED, 0)
    result.broken += boxes.broken(wanted, result.black_boxes, max(0, counted - earlier))


def _midst(rig: Rig) -> Seen:
    """The last look before the fault, in the midst of a motion. `EdgeError` where there is none."""
    joint, end_s = int(np.argmax(FASTEST_RAD_S)), time.monotonic() + MIDST_LIMIT_S
    least_rad = MIDST_SHARE * MIDST_S * FASTEST_RAD_S[joint]
    while time.monotonic() < end_s:
        seen = rig.look()
        goals = Trace(rig.rows(time.monotonic_ns() - int(MIDST_S * 1e9))).told["goal_rad"][:, joint]
        if len(goals) and abs(goals[-1] - goals[0]) > least_rad and _short(seen.state) == RUN:
            return seen
    raise EdgeError(f"the arm does not move within {MIDST_LIMIT_S:g} s: {seen.state}, {seen.cause}: a busy machine?")


def _enough(case: Case, before: Seen) -> Callable[[Seen], bool]:
    """The end, where it stays; a fault that is noticed and gone over is watched to the end."""
    return lambda seen: case.stops and _short(seen.state) in case.ends and _noticed(case, before, seen)


def _noticed(case: Case, before: Seen, seen: Seen) -> bool:
    counted = any(seen.counters.get(name, 0) > before.counters.get(name, 0) for name in case.shows)
    return counted or _short(seen.state) in case.shows


def _short(state: str) -> str:
    return state.split(" ", maxsplit=1)[0]


def _states(case: Case, rig: Rig, result: Result, before: Seen, seen: list[Seen], fault_ns: int) -> None:
    for one in (before, *seen):
        if not result.path or result.path[-1] != _short(one.state):
            result.path.append(_short(one.state))
    result.cause = seen[-1].cause.replace(str(rig.folder), "sim")
    last = next((one.counters for one in reversed(seen) if one.counters), before.counters)
    rises = {name: count - before.counters.get(name, 0) for name, count in last.items()}
    result.counted = {name: rise for name, rise in rises.items() if rise > 0}
    result.due_ms = case.due.ms(rig.config)
    result.allowed_ms = result.due_ms + case.due.slack_ms(rig.config) + LOOK_MS
    first = next((one for one in seen if _noticed(case, before, one)), None)
    if first is not None:
        result.detected_ms = round((first.t_ns - fault_ns) / 1e6, 1)
        if result.detected_ms > result.allowed_ms:
            result.broken.append(f"noticed after {result.detected_ms:g} ms, allowed are {result.allowed_ms:g}")
    elif case.shows:
        result.broken.append(f"never noticed: neither of {', '.join(case.shows)}")
    if result.path[-1] not in case.ends:
        result.broken.append(f"ends in {result.path[-1]}, not in {' or '.join(case.ends)}: {result.cause}")


def _motion(case: Case, rig: Rig, result: Result, trace: Trace, fault_ns: int) -> None:
    """How far and how long the arm went on, where it was to stop."""
    if not case.stops:
        return
    robot, after = rig.config, trace.between(fault_ns - 20_000_000, trace.rows["t_ns"][-1])
    speed = trace.between(0, fault_ns).speed()
    period_s = 1.0 / robot.control.rate_hz
    at_once = ENDED in case.ends and not case.coasts
    goes_on_s = 2.0 * period_s if at_once else (result.allowed_ms - LOOK_MS) / 1e3 + period_s
    goes_on_s += robot.deadlines.coast_ms / 1e3 if case.coasts else 0.0
    moved, bound = after.moved(fault_ns), bounds.may_move(robot, speed, goes_on_s)
    powered = [index for index in range(len(robot.joints)) if index not in case.limp]
    result.rest_ms = round(max(0, after.rest_ns() - fault_ns) / 1e6, 1)
    if powered:
        worst = max(powered, key=lambda index: moved[index] / bound[index])
        result.joint = robot.joints[worst].name
        result.moved_rad, result.bound_rad = round(float(moved[worst]), 4), round(float(bound[worst]), 4)
        if moved[worst] > bound[worst]:
            result.broken.append(f"{result.joint} moved {moved[worst]:.3f} rad, allowed are {bound[worst]:.3f}")
    else:
        result.joint, result.moved_rad = "all, without power", round(float(moved.max()), 4)
    oldest_ms = robot.deadlines.chunk_age_ms + robot.deadlines.coast_ms + 1e3 * (bounds.stop_s(robot) + period_s)
    last_ms = (after.last_new_goal_ns() - fault_ns) / 1e6
    if case.aged and last_ms > oldest_ms:
        result.broken.append(f"still moved by old frames after {last_ms:.0f} ms, allowed are {oldest_ms:.0f}")


def _stop(case: Case, rig: Rig, result: Result, trace: Trace, seen: list[Seen], fault_ns: int) -> None:
    """How far the arm went once it was stopping."""
    stopping = next((one for one in seen if _short(one.state) in (HOLD, SAFE)), None)
    if stopping is None or not case.stops or len(case.limp) == len(rig.config.joints):
        return
    powered = [index for index in range(len(rig.config.joints)) if index not in case.limp]
    moved = trace.moved(stopping.t_ns)[powered]
    bound = bounds.may_move(rig.config, trace.between(0, fault_ns).speed(), 0.0)[powered]
    worst = int(np.argmax(moved / bound))
    result.stop_rad, result.stop_bound_rad = round(float(moved[worst]), 4), round(float(bound[worst]), 4)
    if moved[worst] > bound[worst]:
        result.broken.append(f"{result.joint} took {moved[worst]:.3f} rad to stop, allowed are {bound[worst]:.3f}")


def _setpoints(case: Case, rig: Rig, result: Result, trace: Trace) -> None:
    robot = rig.config
    result.closest_ms = min(result.closest_ms, round(trace.closest_ns() / 1e6, 2))
    most = np.array([joint.velocity_rad_s for joint in robot.joints]) / robot.control.rate_hz
    result.longest_step = max(result.longest_step, round(float((trace.longest_step() / most).max()), 3))
    result.broken += bounds.burst(robot, trace, safe_at_speed=case.safe_at_speed)


def _go_back(case: Case, rig: Rig, result: Result) -> int:
    """Mend it, say what has to be said, and see it move again: from when on, ns."""
    case.mend(rig)
    begin_ns = time.monotonic_ns()
    if ENDED in case.ends:
        code = rig.forget()
        result.back = ["edge safe-stop"] if code else []
        if code:
            rig.safe_stop()
        rig.start()
        result.back += ["edge run", "edge arm", "edge task"]
    elif case.back:
        for command in case.back:
            rig.say_when_ready(command)
        rig.run_task()
        result.back = [f"edge {command}" for command in (*case.back, "task")]
    else:
        rig.until("RUN (task)")
    result.back_s = round((time.monotonic_ns() - begin_ns) / 1e9, 2)
    return _prove(rig)


def _prove(rig: Rig) -> int:
    """Since when it has moved, ns; `EdgeError` where it does not for a while, or does not stay at its task."""
    begin_ns = time.monotonic_ns()
    time.sleep(PROOF_S)
    seen = rig.look()
    if not Trace(rig.rows(begin_ns)).last_new_goal_ns() or _short(seen.state) not in (RUN, COAST):
        raise EdgeError(f"it does not move: {seen.state}, {seen.cause}")
    return begin_ns
