"""The state machine, exhaustively: every trigger in every mode, against the rules in words."""

from __future__ import annotations

from itertools import product

import pytest

from edge_runtime import states
from edge_runtime.errors import CommandError
from edge_runtime.states import TRANSITIONS, Command, Happening, Machine, Mode, Phase, State

ALLOWED = {
    "DISARMED": {"arm", "disarm", "stop", "reset", "estop"},
    "READY": {"task", "stop", "disarm", "takeover", "estop"},
    "RUN (to_start)": {"task", "stop", "takeover", "estop"},
    "RUN (task)": {"task", "stop", "done", "takeover", "estop"},
    "RUN (park)": {"task", "stop", "takeover", "estop"},
    "COAST (task)": {"task", "stop", "done", "takeover", "estop"},
    "TAKEOVER": {"stop", "handback", "estop"},
    "TAKEOVER (task)": {"stop", "handback", "done", "estop"},
    "HOLD (to_start)": {"stop", "resume", "reset", "disarm", "takeover", "estop"},
    "HOLD (task)": {"stop", "resume", "reset", "disarm", "takeover", "estop"},
    "HOLD (park)": {"stop", "resume", "reset", "disarm", "takeover", "estop"},
    "HOLD": {"stop", "reset", "disarm", "estop"},
    "SAFE": {"stop", "reset", "estop"},
}


def modes() -> list[Mode]:
    return list(TRANSITIONS)


def at(mode: Mode) -> Machine:
    machine = Machine(0)
    machine.mode = mode
    return machine


def test_the_table_has_every_mode_and_leads_nowhere_else() -> None:
    assert {str(mode) for mode in TRANSITIONS} == set(ALLOWED)
    for row in TRANSITIONS.values():
        assert set(row.values()) <= set(TRANSITIONS)


@pytest.mark.parametrize("mode", modes(), ids=str)
def test_the_commands_that_each_mode_takes(mode: Mode) -> None:
    assert set(at(mode).allowed()) == ALLOWED[str(mode)]


@pytest.mark.parametrize(("mode", "command"), list(product(modes(), Command)), ids=str)
def test_every_command_in_every_mode(mode: Mode, command: Command) -> None:
    machine = at(mode)
    if command.value in ALLOWED[str(mode)]:
        machine.check(command)
        assert machine.fire(command, 1) in TRANSITIONS
        return
    with pytest.raises(CommandError, match=r"^allowed now: [a-z, ]+$"):
        machine.check(command)
    with pytest.raises(KeyError):
        machine.fire(command, 1)
    assert machine.mode is mode


def test_only_a_person_leads_out_of_what_latches() -> None:
    for mode in (states.FAULTED, states.SAFE):
        for trigger, after in TRANSITIONS[mode].items():
            assert after.state in (State.HOLD, State.SAFE) or trigger in (Command.RESET, Command.DISARM)


def test_only_arm_leads_out_of_disarmed_and_into_motion_only_a_command_does() -> None:
    for mode, row in TRANSITIONS.items():
        for trigger, after in row.items():
            if mode.state is State.DISARMED and after.state is State.RUN:
                assert trigger is Command.ARM
            if mode.state in (State.READY, State.HOLD) and after.state in (State.RUN, State.COAST):
                assert trigger in (Command.TASK, Command.RESUME)


def test_stop_is_taken_everywhere_and_never_leaves_the_arm_moving() -> None:
    for row in TRANSITIONS.values():
        assert row[Command.STOP].state not in (State.RUN, State.COAST)


def test_whatever_drives_can_fault_and_can_be_lost() -> None:
    for mode, row in TRANSITIONS.items():
        if mode.drives:
            assert row[Happening.FAULT] is states.FAULTED
        assert row[Happening.LOST] is states.SAFE


def test_an_e_stop_is_taken_everywhere_and_latches_wherever_the_arm_is_driven() -> None:
    for mode, row in TRANSITIONS.items():
        assert row[Command.ESTOP] is (states.FAULTED if mode.drives else mode)


def test_a_person_drives_only_by_a_command_and_the_task_that_was_interrupted_goes_on() -> None:
    for mode, row in TRANSITIONS.items():
        for trigger, after in row.items():
            if after.state is State.TAKEOVER and mode.state is not State.TAKEOVER:
                assert trigger is Command.TAKEOVER
                assert (after.phase is Phase.TASK) == (mode.phase is Phase.TASK)
                handed_back = TRANSITIONS[after][Command.HANDBACK]
                assert handed_back is (states.TASK if mode.phase is Phase.TASK else states.READY)


def test_the_policy_may_end_a_task_wherever_a_person_may_who_does_not_drive() -> None:
    for mode, row in TRANSITIONS.items():
        if mode.state is State.TAKEOVER:
            assert Happening.TERMINATED not in row
            continue
        assert row.get(Happening.TERMINATED) is row.get(Command.DONE)


def test_a_hold_resumes_the_phase_it_held() -> None:
    for mode, row in TRANSITIONS.items():
        if mode.state is State.HOLD and mode.phase is not Phase.NONE:
            assert row[Command.RESUME] == Mode(State.RUN, mode.phase)
            held = [before for before, r in TRANSITIONS.items() if r.get(Command.STOP) is mode and before is not mode]
            assert {before.phase for before in held} == {mode.phase}


def test_time_is_counted_by_state() -> None:
    machine = Machine(1_000_000_000)
    machine.fire(Command.ARM, 3_000_000_000)
    machine.fire(Happening.BEGIN, 4_000_000_000)
    machine.fire(Happening.LATE, 4_500_000_000)
    seconds = machine.seconds(6_000_000_000)
    assert seconds == {
        "DISARMED": 2.0,
        "READY": 0.0,
        "RUN": 1.5,
        "COAST": 1.5,
        "HOLD": 0.0,
        "SAFE": 0.0,
        "TAKEOVER": 0.0,
    }
    assert sum(seconds.values()) == 5.0
