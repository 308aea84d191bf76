"""Anything at any time: whatever people, policies, cameras and buses do, the motors are told nothing out of bounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivers.errors import Corrupt, Disconnected, Overload, Timeout
from edge_runtime.limits import Limits
from edge_runtime.states import Command
from tests.edge_runtime.fakes import HORIZON, Rig, robot

MS = 1_000_000
ERRORS = (Timeout("silent"), Corrupt("checksum"), Disconnected("unplugged"), Overload("overload"))

Step = Callable[[Rig], object]


def chunk(values: list[float], age_ms: int) -> Step:
    actions = np.resize(np.array(values), (HORIZON, 12))
    return lambda rig: rig.chunk(actions, age_ns=age_ms * MS)


def fail(arm: int, error: int, calls: tuple[str, ...]) -> Step:
    return lambda rig: rig.buses[arm].fail(ERRORS[error], *calls)


def camera(index: int, alive: bool) -> Step:
    return lambda rig: setattr(rig.cameras[index], "stopped_ns", None) if alive else rig.cameras[index].stop()


def say(command: Command) -> Step:
    return lambda rig: rig.say(command.value, "do it" if command is Command.TASK else "")


def press(down: bool) -> Step:
    return lambda rig: rig.estop.press(down)


def hand(by: list[float], ticks: int) -> Step:
    def move(rig: Rig) -> None:
        for _ in range(ticks):
            rig.hand.move(np.resize(np.array(by), 12) / ticks)
            rig.tick()

    return move


def leader(alive: bool) -> Step:
    return lambda rig: setattr(rig.hand, "stopped_ns", None if alive else rig.clock.now_ns())


number = st.one_of(st.floats(-2.0, 2.0), st.floats(width=64))
call = st.sampled_from(
    [(), ("read_state",), ("write_setpoints",), ("enable_torque",), ("safe_action",), ("read_health",)]
)
step: st.SearchStrategy[Step] = st.one_of(
    st.builds(say, st.sampled_from(Command)),
    st.builds(say, st.sampled_from([Command.ARM, Command.TASK, Command.RESET, Command.TAKEOVER, Command.HANDBACK])),
    st.builds(press, st.booleans()),
    st.builds(hand, st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=12), st.integers(1, 40)),
    st.builds(leader, st.booleans()),
    st.builds(chunk, st.lists(number, min_size=1, max_size=24), st.integers(0, 800)),
    st.builds(fail, st.integers(0, 1), st.integers(0, 3), call),
    st.builds(lambda: lambda rig: [bus.trouble.clear() for bus in rig.buses]),
    st.builds(camera, st.integers(0, 1), st.booleans()),
    st.builds(lambda ms: lambda rig: rig.clock.advance(ms * MS), st.integers(1, 300)),
    st.builds(lambda count: lambda rig: rig.tick(count), st.integers(1, 200)),
    st.builds(lambda: lambda rig: setattr(rig.link, "terminated", rig.link.request)),
)


def check(rig: Rig, limits: Limits) -> None:
    begin = 0
    for bus in rig.buses:
        part = slice(begin, begin := begin + 6)
        sent = np.array([position for _, position in bus.writes]).reshape(-1, 6)
        assert np.isfinite(sent).all()
        assert (sent >= limits.lower[part] - 1e-12).all()
        assert (sent <= limits.upper[part] + 1e-12).all()
        assert (np.abs(np.diff(sent, axis=0)) <= limits.velocity[part] * 0.01 + 1e-12).all()
        times = np.array([t for t, _ in bus.writes])
        begins = np.abs(np.diff(sent, axis=0))[np.diff(times) > 30 * MS]
        assert (begins <= limits.jerk[part] * 0.01**3 + 1e-12).all()  # from rest
        slots = [t // (10 * MS) for t in times]
        assert len(set(slots)) == len(slots)
        del bus.writes[:-1]


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@settings(max_examples=120)
@example(begun=True, steps=[chunk([float("inf")], 441)])  # the stop behind a chunk that is not finite
@example(begun=True, steps=[chunk([float("nan")], 441)])
@given(st.booleans(), st.lists(step, max_size=40))
def test_the_motors_never_see_anything_out_of_bounds(begun: bool, steps: list[Step]) -> None:
    rig = Rig(robot(arms=2))
    limits = Limits.of(rig.robot)
    rig.tick()
    if begun:
        rig.run_task()
    for do in steps:
        driven = rig.loop.director.mode.drives
        before = [len(bus.writes) for bus in rig.buses]
        do(rig)
        rig.tick()
        if not driven and not rig.loop.director.mode.drives:
            assert [len(bus.writes) for bus in rig.buses] == before
        check(rig, limits)
    rig.loop.close("the end")
    for bus in rig.buses:
        bus.trouble.clear()
    rig.loop.run()
    assert not rig.loop.torque.ours
    assert not rig.loop.director.mode.drives
