"""The control loop, one tick at a time on a fake clock, against buses that fail on demand."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.errors import Corrupt, Disconnected, Overload, Timeout
from edge_runtime.brake import Brake
from edge_runtime.errors import EdgeError
from edge_runtime.limits import Limits
from tests.edge_runtime.fakes import DT_NS, HORIZON, Rig, prompt, robot
from tests.edge_runtime.memory import growth

PERIOD_NS = 10_000_000
SILENCE = Timeout("bus arm: no answer from elbow_flex")


@pytest.fixture
def rig() -> Rig:
    return Rig(robot())


@pytest.fixture
def pair() -> Rig:
    return Rig(robot(arms=2))


def bounded(rig: Rig) -> None:
    """Every setpoint that any bus was sent is in range and within reach of the one before."""
    limits = Limits.of(rig.robot)
    begin = 0
    for bus in rig.buses:
        sent = np.array([position for _, position in bus.writes])
        part = slice(begin, begin := begin + sent.shape[1])
        assert np.isfinite(sent).all()
        assert (sent >= limits.lower[part] - 1e-12).all()
        assert (sent <= limits.upper[part] + 1e-12).all()
        assert (np.abs(np.diff(sent, axis=0)) <= limits.velocity[part] * 0.01 + 1e-12).all()


# ── life of an episode ──────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_written_before_arm(rig: Rig) -> None:
    rig.tick(200)
    assert rig.mode == "DISARMED"
    assert set(rig.bus.calls) == {"read_state", "read_health"}
    assert not rig.bus.torque


def test_arm_takes_the_arm_where_it_is_and_moves_to_the_start_pose(rig: Rig) -> None:
    rig.bus.position[:] = [0.5, -0.5, 0.3, 0.0, 0.1, 0.2]
    rig.tick()
    assert rig.say("arm") == ""
    assert rig.mode == "RUN (to_start)"
    assert rig.bus.torque
    rig.until("READY")
    sent = rig.emitted()
    assert np.abs(sent[0] - [0.5, -0.5, 0.3, 0.0, 0.1, 0.2]).max() < 1e-3  # a soft beginning
    assert sent[-1] == pytest.approx([0.1] * 6, abs=0)
    bounded(rig)
    assert rig.link.request.prompt is None


def test_an_episode_from_arm_to_park(rig: Rig) -> None:
    rig.run_task()
    assert rig.link.request.prompt is not None
    for _ in range(50):
        rig.chunk(rig.loop.buses.setpoint_rad + 0.002 * np.arange(HORIZON)[:, None])
        rig.tick(5)
    assert rig.say("done") == ""
    assert rig.mode == "RUN (park)"
    assert rig.link.request.prompt is None
    rig.until("READY")
    assert rig.emitted()[-1] == pytest.approx([0.0] * 6, abs=0)
    director = rig.loop.director
    assert (director.episodes, director.successes) == (1, 1)
    assert rig.say("task", "again") == ""
    assert rig.mode == "RUN (to_start)"
    rig.until("RUN (task)")
    assert director.episodes == 2
    bounded(rig)


def test_a_task_ends_at_its_timeout_without_success(rig: Rig) -> None:
    rig.run_task()
    ticks = rig.until("RUN (park)", each=rig.fed)
    assert ticks == pytest.approx(12.5 * 100, abs=3)
    assert rig.loop.director.successes == 0
    assert rig.named("RUN (park)") == ["timeout"]


def terminate(rig: Rig) -> None:
    """What the inference thread does when the policy says that the task is done."""
    rig.link.terminated = rig.link.request


def test_a_task_that_the_policy_ends_is_a_success_and_the_arm_parks(rig: Rig) -> None:
    rig.run_task()
    terminate(rig)
    rig.tick()
    assert rig.mode == "RUN (park)"
    assert rig.named("RUN (park)") == ["the policy says that the task is done"]
    assert rig.link.request.prompt is None
    rig.until("READY")
    assert rig.emitted()[-1] == pytest.approx([0.0] * 6, abs=0)
    assert (rig.loop.director.episodes, rig.loop.director.successes) == (1, 1)
    bounded(rig)
    assert rig.say("task", "again") == ""
    rig.until("RUN (task)")
    rig.chunk()
    rig.tick(5)
    assert rig.mode == "RUN (task)"
    assert rig.loop.director.successes == 1


def test_the_end_of_a_task_comes_before_its_lateness(rig: Rig) -> None:
    """At rest with nothing left to coast on would be a fault in the very same tick."""
    rig.run_task()
    rig.until("COAST (task)")
    while not (rig.loop.director.still and rig.loop.director.chunk_over):
        rig.loop.pacer.wait()
        rig.loop.director.sample(rig.loop.pacer.due_ns, rig.loop.buses.setpoint_rad)
    terminate(rig)
    rig.tick()
    assert rig.mode == "RUN (park)"


def test_a_fault_comes_before_the_end_of_a_task(rig: Rig) -> None:
    rig.run_task()
    terminate(rig)
    rig.bus.fail(Overload("gripper: overload"), "read_state")
    rig.tick()
    assert rig.mode == "HOLD"
    assert rig.loop.director.successes == 0


@pytest.mark.parametrize("meanwhile", ["task", "stop"])
def test_an_end_that_was_meant_for_another_instruction_is_none(rig: Rig, meanwhile: str) -> None:
    rig.run_task("one")
    old = rig.link.request
    rig.say(meanwhile, "two" if meanwhile == "task" else "")
    rig.link.terminated = old
    if meanwhile == "stop":
        rig.tick(100)
        rig.say("resume")
    rig.chunk()
    rig.tick(5)
    assert rig.mode == "RUN (task)"
    assert rig.loop.director.successes == 0


def test_the_first_instruction_begins_when_the_arm_is_at_the_start_pose(rig: Rig) -> None:
    rig.loop.director.prompt = prompt("fetch")
    rig.say("arm")
    rig.until("RUN (task)")
    assert rig.link.request.prompt.instruction == "fetch"


def test_the_instruction_changes_while_running_and_gets_the_whole_time(rig: Rig) -> None:
    rig.run_task("one")
    for _ in range(600):
        rig.fed()
        rig.tick()
    number = rig.link.request.number
    assert rig.say("task", "two") == ""
    assert rig.mode == "RUN (task)"
    assert rig.link.request.prompt.instruction == "two"
    assert rig.link.request.number == number  # the running chunk stays good until the next one comes
    assert rig.until("RUN (park)", each=rig.fed) == pytest.approx(1250, abs=3)
    assert rig.loop.director.episodes == 1


def test_a_task_given_while_parking_begins_after_it(rig: Rig) -> None:
    rig.run_task("one")
    rig.say("done")
    assert rig.say("task", "two") == ""
    assert rig.mode == "RUN (park)"
    rig.until("RUN (to_start)")
    rig.until("RUN (task)")
    assert rig.link.request.prompt.instruction == "two"


def test_a_chunk_of_an_earlier_request_is_not_followed(rig: Rig) -> None:
    rig.run_task()
    rig.say("done")
    rig.chunk(np.full((HORIZON, 6), 1.0))
    rig.link.chunks.take().request = 1
    rig.until("READY")
    rig.say("task", "again")
    rig.until("RUN (task)")
    before = rig.loop.buses.setpoint_rad.copy()
    rig.tick(10)
    assert rig.loop.buses.setpoint_rad == pytest.approx(before, abs=0)


# ── stop, resume, reset ─────────────────────────────────────────────────────────────────────────────────────────────


def moving(rig: Rig) -> None:
    """At a task, with every joint at 0.5 rad/s."""
    rig.run_task()
    for _ in range(20):
        ramp = rig.loop.buses.setpoint_rad + 0.5 * (np.arange(HORIZON)[:, None] - 2.0) * DT_NS / 1e9
        rig.chunk(ramp)
        rig.tick(5)


def stop_of(rig: Rig) -> Brake:
    """The stop that the limits give an arm that moves at 0.5 rad/s, each joint as the other."""
    emitted = rig.emitted()[-2:]
    assert np.diff(emitted, axis=0)[0] == pytest.approx([0.005] * 6, rel=0.01)
    brake = Brake(10.0, 100.0)
    brake.plan(float(emitted[-1, 0]), 0.5, 0.0)
    return brake


def test_stop_comes_to_rest_within_the_distance_and_time_that_the_limits_give(rig: Rig) -> None:
    moving(rig)
    assert rig.say("stop") == ""
    assert rig.mode == "HOLD (task)"
    brake = stop_of(rig)
    ticks = 0
    while not rig.loop.director.still:
        rig.tick()
        ticks += 1
    assert ticks <= np.ceil(brake.duration_s * 100) + 1
    assert rig.loop.buses.setpoint_rad[0] == pytest.approx(brake.end, abs=1e-6)
    at_rest = rig.loop.buses.setpoint_rad.copy()
    rig.tick(50)
    assert rig.bus.torque
    assert rig.loop.buses.setpoint_rad == pytest.approx(at_rest, abs=0)
    bounded(rig)


def test_a_stop_is_resumed_with_the_time_that_was_left(rig: Rig) -> None:
    rig.run_task()
    for _ in range(500):
        rig.fed()
        rig.tick()
    rig.say("stop")
    assert rig.say("stop") == ""  # once more is no different
    rig.tick(3_000)
    assert rig.link.request.prompt is None
    assert rig.say("resume") == ""
    assert rig.mode == "RUN (task)"
    assert rig.until("RUN (park)", each=rig.fed) == pytest.approx(750, abs=6)


def test_parking_begins_from_the_speed_that_the_task_left(rig: Rig) -> None:
    moving(rig)
    writes = len(rig.bus.writes)
    rig.say("done")
    rig.until("READY")
    bend = np.diff(rig.emitted()[writes - 1 :], n=2, axis=0) / 0.01**2
    assert np.abs(bend).max() <= 10.0 * 1.01


def test_a_fault_while_stopping_changes_nothing_about_the_stop(rig: Rig) -> None:
    moving(rig)
    rig.say("stop")
    brake = stop_of(rig)
    rig.tick(6)
    rig.bus.fail(Overload("gripper: overload"), "read_state")
    rig.tick()
    assert rig.mode == "HOLD"
    rig.bus.trouble.clear()
    rig.tick(60)
    assert rig.loop.buses.setpoint_rad[0] == pytest.approx(brake.end, abs=1e-6)


@pytest.mark.parametrize("command", ["resume", "reset", "disarm"])
def test_leaving_hold_waits_until_the_arm_is_still(rig: Rig, command: str) -> None:
    moving(rig)
    rig.say("stop")
    assert rig.say(command) == f"cannot {command} in HOLD (task): still stopping, try again"
    rig.tick(100)
    assert rig.say(command) == ""


def test_resume_of_a_move_goes_on_to_its_pose(rig: Rig) -> None:
    rig.bus.position[:] = 1.0
    rig.tick()
    rig.say("arm")
    rig.tick(20)
    rig.say("stop")
    assert rig.mode == "HOLD (to_start)"
    rig.tick(100)
    rig.say("resume")
    rig.until("READY")
    assert rig.emitted()[-1] == pytest.approx([0.1] * 6, abs=0)
    bounded(rig)


def test_reset_takes_the_arm_over_where_it_is_now(rig: Rig) -> None:
    rig.run_task()
    rig.say("stop")
    rig.tick(100)
    rig.bus.torque = False  # a servo let go meanwhile and the arm sank
    rig.bus.position[:] = -0.7
    rig.tick()
    assert rig.say("reset") == ""
    assert rig.mode == "READY"
    rig.tick()
    assert rig.emitted()[-1] == pytest.approx([-0.7] * 6, abs=0)


def test_a_take_over_begins_where_the_motors_are_once_torque_is_on(rig: Rig) -> None:
    enable = rig.bus.enable_torque

    def sag(deadline_ns: int) -> None:
        enable(deadline_ns)
        rig.bus.position -= 0.05

    rig.bus.enable_torque = sag  # type: ignore[method-assign]
    rig.tick()
    rig.say("arm")
    rig.tick()
    assert rig.emitted()[0] == pytest.approx([-0.05] * 6, abs=1e-3)


def test_disarm_lets_go(rig: Rig) -> None:
    rig.run_task()
    rig.say("stop")
    rig.tick(100)
    assert rig.say("disarm") == ""
    assert rig.mode == "DISARMED"
    assert not rig.bus.torque
    writes = len(rig.bus.writes)
    rig.tick(10)
    assert len(rig.bus.writes) == writes
    rig.loop.close("SIGTERM")
    rig.loop.run()
    assert not rig.bus.safe  # nothing is held any more, so nothing is to be made safe


def test_disarm_lets_go_of_an_arm_that_was_found_holding(rig: Rig) -> None:
    rig.bus.torque = True
    rig.tick(5)
    assert rig.say("disarm") == ""
    assert rig.mode == "DISARMED"
    assert not rig.bus.torque
    assert not rig.bus.writes


def test_disarm_without_a_connection_changes_nothing(rig: Rig) -> None:
    rig.bus.fail(Disconnected("bus arm: the port has gone away"), "read_state", "connect")
    rig.tick(5)
    assert "cannot disarm in DISARMED: no connection" in rig.say("disarm")
    assert rig.mode == "DISARMED"
    assert "disable_torque" not in rig.bus.calls


def test_a_command_that_is_not_allowed_says_what_is(rig: Rig) -> None:
    assert rig.say("task", "x") == "cannot task in DISARMED: allowed now: arm, disarm, stop, reset, estop"
    rig.run_task()
    assert rig.say("arm") == "cannot arm in RUN (task): allowed now: task, stop, done, takeover, estop"


def test_setpoints_that_were_never_sent_are_not_caught_up_with_in_one_step(rig: Rig) -> None:
    moving(rig)
    rig.chunk(np.full((HORIZON, 6), 1.5))
    rig.bus.fail(Timeout("the port takes no more bytes"), "write_setpoints")
    rig.tick(5)
    rig.bus.trouble.clear()
    rig.tick(5)
    bounded(rig)  # 2 rad/s from the last setpoint that the motors were sent


def test_a_slow_arm_misses_no_slots(rig: Rig) -> None:
    rig.bus.takes_ns["enable_torque"] = 200_000_000
    rig.tick()
    rig.say("arm")
    rig.tick(5)
    assert rig.loop.pacer.missed == 0
    assert max(rig.petted) > 0.5 >= rig.petted[-1]  # the stuck timer was told to wait


# ── what fails ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_serial_cycle_that_times_out_makes_no_tick_late() -> None:
    rig = Rig(robot(deadlines={"serial_ms": 50.0}))
    rig.tick()
    assert rig.bus.deadlines["read_state"] <= 0.8 * PERIOD_NS


def test_a_silent_bus_ends_in_hold_then_safe(rig: Rig) -> None:
    moving(rig)
    rig.bus.fail(SILENCE)
    rig.tick(9)
    assert rig.mode == "RUN (task)"
    assert rig.named("serial miss") == [str(SILENCE)]
    rig.tick()
    assert rig.mode == "HOLD"
    assert rig.named("HOLD") == [f"10 serial cycles in a row failed: {SILENCE}"]
    rig.until("SAFE", limit=60)
    assert rig.bus.safe
    calls = len(rig.bus.writes)
    rig.tick(5)
    assert len(rig.bus.writes) == calls


def test_fewer_misses_than_the_limit_are_only_counted(rig: Rig) -> None:
    moving(rig)
    rig.bus.fail(Corrupt("checksum"), "read_state")
    rig.tick(9)
    rig.bus.trouble.clear()
    rig.chunk()
    rig.tick(20)
    assert rig.mode == "RUN (task)"
    assert rig.loop.buses.lines[0].missed == 9


def test_a_bus_that_comes_back_leaves_a_latched_hold(rig: Rig) -> None:
    moving(rig)
    rig.bus.fail(SILENCE)
    rig.until("HOLD", limit=20)
    rig.bus.trouble.clear()
    rig.tick(300)
    assert rig.mode == "HOLD"
    assert "allowed now: disarm, stop, reset, estop" in rig.say("resume")
    assert rig.say("reset") == ""
    assert rig.bus.calls.count("identify") == 6  # whoever was silent for so long may be another
    assert rig.mode == "READY"


def test_a_bus_that_is_gone_stops_at_once_and_reset_connects_again(rig: Rig) -> None:
    moving(rig)
    gone = Disconnected("bus arm: /dev/arm has gone away")
    rig.bus.fail(gone)
    rig.bus.fail(gone, "safe_action", "connect")
    rig.tick()
    assert rig.mode == "HOLD"
    rig.until("SAFE", limit=60)
    assert rig.named("safe action failed") == ["bus arm: Disconnected: bus arm: /dev/arm has gone away"]
    assert rig.say("reset") == f"cannot reset in SAFE: no connection: {gone}"
    del rig.bus.trouble["connect"]
    rig.bus.calls.clear()
    assert rig.say("reset") == ""
    calls = [c for c in rig.bus.calls if c not in ("read_state", "identify")]
    assert calls == ["disconnect", "connect", "safe_action"]
    assert rig.bus.calls.count("identify") == 6
    assert rig.mode == "DISARMED"
    assert rig.say("arm") == ""


def test_a_safe_action_that_failed_is_tried_again_until_it_is_done(rig: Rig) -> None:
    moving(rig)
    gone = Disconnected("bus arm: /dev/arm has gone away")
    rig.bus.fail(gone, "safe_action", "connect")
    rig.bus.fail(gone)
    rig.until("SAFE", limit=80)
    rig.tick(250)
    assert len(rig.named("safe action failed")) >= 2
    assert rig.loop.torque.ours
    del rig.bus.trouble["safe_action"]
    rig.bus.safe = False
    rig.tick(250)
    assert rig.bus.safe
    assert not rig.loop.torque.ours
    rig.bus.calls.clear()
    rig.tick(500)
    assert "safe_action" not in rig.bus.calls, "once is enough"


def test_one_failing_bus_stops_every_arm_and_the_others_stop_smoothly(pair: Rig) -> None:
    moving(pair)
    left, right = pair.buses
    left.fail(SILENCE)
    pair.until("HOLD", limit=20)
    pair.until("SAFE", limit=60)
    assert right.safe
    sent = np.array([position for _, position in right.writes])
    steps = np.diff(sent[-25:], axis=0)
    assert np.abs(steps[-1]).max() < 1e-4  # it came to rest before the safe action
    assert np.abs(np.diff(steps, axis=0)).max() <= 10.0 * 0.01**2 * 1.01  # and never braked harder than 10 rad/s²
    bounded(pair)


def test_writes_all_then_reads_all_and_a_silent_bus_starves_no_other(pair: Rig) -> None:
    pair.run_task()
    left, right = pair.buses
    order: list[tuple[str, str]] = []
    for bus in pair.buses:
        bus._call = lambda name, deadline, bus=bus: order.append((bus.settings.name, name))  # type: ignore[method-assign]
    pair.tick()
    cycle = [("left", "write_setpoints"), ("right", "write_setpoints"), ("left", "read_state"), ("right", "read_state")]
    assert order[:4] == cycle
    for bus in pair.buses:
        del bus._call  # type: ignore[attr-defined]
    left.takes_ns["read_state"] = 2_500_000  # silent until its share of the cycle is over
    left.fail(SILENCE, "read_state")
    pair.tick()
    assert right.deadlines["read_state"] >= 1_250_000
    assert pair.loop.buses.lines[1].misses == 0


def test_a_motor_that_reports_a_fault_holds_the_arm(rig: Rig) -> None:
    moving(rig)
    rig.bus.fail(Overload("bus arm: joint 'gripper' reports: overload"), "read_health")
    rig.until("HOLD", limit=60, each=rig.fed)
    assert rig.named("HOLD") == ["bus arm: joint 'gripper' reports: overload"]
    assert rig.bus.torque
    rig.bus.trouble.clear()
    rig.tick(50)
    assert rig.say("reset") == ""
    rig.tick(50)
    assert rig.mode == "READY"


def test_a_setpoint_that_is_no_number_never_reaches_the_bus(rig: Rig) -> None:
    moving(rig)
    actions = np.full((HORIZON, 6), 0.2)
    actions[:, 2] = np.nan
    rig.chunk(actions)
    rig.tick()
    assert rig.mode == "HOLD"
    assert rig.named("HOLD") == ["setpoint of elbow_flex is not finite"]
    rig.tick(50)
    bounded(rig)


def test_no_burst_after_a_stall(rig: Rig) -> None:
    moving(rig)
    writes = len(rig.bus.writes)
    rig.clock.advance(237_000_000)
    rig.chunk(rig.loop.buses.setpoint_rad + 1.0)
    rig.tick(20)
    times = np.array([t for t, _ in rig.bus.writes[writes - 1 :]])
    slots = times // PERIOD_NS
    assert len(set(slots.tolist())) == len(slots)  # never two writes in one slot
    assert rig.loop.pacer.missed == 22
    assert rig.ticks.lateness_ns[rig.ticks.order()].max() >= 227_000_000
    assert len(rig.named("tick late")) == 1
    bounded(rig)


def test_a_move_goes_on_after_a_stall_instead_of_jumping(rig: Rig) -> None:
    rig.bus.position[:] = 1.2
    rig.tick()
    rig.say("arm")
    rig.tick(25)
    rig.clock.advance(300_000_000)
    rig.tick()
    assert (np.abs(np.diff(rig.emitted()[-2:], axis=0)) <= Limits.of(rig.robot).jerk * 0.01**3).all()
    rig.until("READY")
    bounded(rig)


def test_arming_that_fails_ends_safe(rig: Rig) -> None:
    rig.bus.fail(SILENCE, "enable_torque")
    rig.tick()
    assert rig.say("arm") == f"arm failed, now in SAFE: {SILENCE}"
    assert rig.bus.safe
    assert rig.bus.writes == []


@pytest.mark.parametrize("call", ["write_setpoints", "read_state", "read_health"])
def test_an_exception_on_the_control_path_ends_in_the_safe_action_on_every_bus(pair: Rig, call: str) -> None:
    pair.run_task()
    left, right = pair.buses
    left.fail(ZeroDivisionError("a bug"), call)
    left.fail(RuntimeError("and another"), "safe_action")
    with pytest.raises(ZeroDivisionError):
        pair.loop.run()
    assert right.safe
    assert left.calls.count("safe_action") == 3
    assert pair.named("control failed") == ["control thread failed: ZeroDivisionError: a bug"]
    assert pair.mode == "SAFE"


def test_an_exception_before_arm_touches_no_torque(rig: Rig) -> None:
    rig.bus.fail(ZeroDivisionError("a bug"), "read_state")
    with pytest.raises(ZeroDivisionError):
        rig.loop.run()
    assert "safe_action" not in rig.bus.calls


# ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_closing_stops_first_and_then_does_the_safe_action(rig: Rig) -> None:
    moving(rig)
    rig.loop.close("SIGINT")
    rig.loop.close("SIGTERM")
    rig.loop.run()
    assert rig.named("HOLD (task)") == ["SIGINT"]
    assert rig.mode == "SAFE"
    assert rig.bus.safe
    assert rig.bus.torque  # nobody switched it off
    sent = rig.emitted()
    assert np.abs(np.diff(sent[-2:], axis=0)).max() < 1e-4
    bounded(rig)


def test_closing_a_disarmed_robot_leaves_it_as_found(rig: Rig) -> None:
    rig.loop.run(seconds=0.1)
    assert rig.ticks.total == 10
    assert "safe_action" not in rig.bus.calls


def test_closing_says_so_when_a_bus_never_confirmed(rig: Rig) -> None:
    rig.run_task()
    rig.bus.fail(SILENCE, "safe_action")
    rig.loop.close("SIGTERM")
    with pytest.raises(EdgeError, match="safe action failed on at least one bus"):
        rig.loop.run()


def test_commands_are_refused_while_closing(rig: Rig) -> None:
    rig.run_task()
    rig.loop.close("SIGTERM")
    assert rig.say("task", "x") == "the robot is closing: SIGTERM"


# ── what it records and asks ────────────────────────────────────────────────────────────────────────────────────────


def test_sensor_age_is_from_capture_to_written(rig: Rig) -> None:
    rig.run_task()
    rig.chunk(age_ns=80_000_000)
    rig.bus.takes_ns["write_setpoints"] = 1_000_000
    rig.tick()
    row = rig.ticks.order()[-1]
    assert rig.ticks.sensor_age_ns[row] == 80_000_000 + PERIOD_NS + 1_000_000
    assert rig.ticks.serial_ns[row] == 1_000_000
    rig.bus.takes_ns.clear()
    rig.say("done")
    rig.tick()
    assert rig.ticks.sensor_age_ns[rig.ticks.order()[-1]] == -1


def test_every_motor_is_asked_for_its_health_once_a_second(pair: Rig) -> None:
    pair.tick(201)
    for bus in pair.buses:
        assert {bus.healthy.count(motor) for motor in range(6)} <= {2, 3}


def test_health_is_not_asked_when_the_cycle_took_its_time(rig: Rig) -> None:
    rig.bus.takes_ns["read_state"] = 3_000_000
    rig.tick(200)
    assert rig.bus.healthy == []


def test_the_stuck_timer_is_petted_every_tick(rig: Rig) -> None:
    rig.tick(5)
    assert rig.petted == [0.5] * 5


def test_a_sign_of_life_follows_each_tick_in_time_and_no_other() -> None:
    woken: list[int] = []
    rig = Rig(robot(), alive=woken.append)
    rig.tick(3)
    assert woken == [rig.clock.now_ns() - (2 - i) * PERIOD_NS for i in range(3)]
    for late_ns in (5_100_000, 27_000_000):  # later than deadlines.tick_ms, then so late that slots are skipped
        woken.clear()
        rig.loop.pacer.prepare()
        rig.clock.sleep_until(rig.loop.pacer.due_ns + late_ns)
        rig.loop.tick()
        assert woken == []
        rig.tick(3)
        assert len(woken) >= 2
    woken.clear()
    rig.loop.pacer.begin()  # after work outside the tick: no slot was due
    rig.tick(1)
    assert len(woken) == 1


def test_a_control_thread_that_is_always_late_gives_no_sign_of_life() -> None:
    woken: list[int] = []
    rig = Rig(robot(), alive=woken.append)
    for _ in range(50):
        rig.loop.pacer.prepare()
        rig.clock.sleep_until(rig.loop.pacer.due_ns + 5_100_000)
        rig.loop.tick()
    assert woken == []


def test_a_tick_keeps_nothing() -> None:
    """Memory after thousands of ticks, with chunks coming, is what it was before."""
    rig = Rig(robot(episode={"timeout_s": 1e6}))
    rig.run_task()

    def work() -> None:
        rig.fed()
        rig.tick(5)
        for each in (rig.bus.writes, rig.bus.calls, rig.bus.healthy, rig.petted):
            each.clear()

    assert growth(work, times=600) < 2_000
    assert rig.mode == "RUN (task)"


def test_a_setpoint_that_waited_while_the_process_stood_still_is_never_sent() -> None:
    """The arm goes on from rest where the last setpoint that was sent has led it."""
    rig = Rig(robot())
    rig.run_task()
    rig.chunk(rig.loop.buses.setpoint_rad + 0.5 * np.arange(10)[:, None] * 0.05, age_ns=0)
    rig.tick(30)
    last = rig.bus.writes[-1][1]
    count = len(rig.bus.writes)
    rig.loop.pacer.prepare()
    rig.loop._sample()
    rig.loop._limit()
    rig.clock.advance(10_000_000_000)  # SIGSTOP, and SIGCONT
    rig.loop._cycle(True)
    assert len(rig.bus.writes) == count
    np.testing.assert_array_equal(rig.loop.limiter.position_rad, last)
    np.testing.assert_array_equal(rig.loop.buses.setpoint_rad, last)
    rig.tick()
    assert rig.loop.limiter.at_rest
    assert np.abs(rig.bus.writes[-1][1] - last).max() < 1e-3


# ── setpoints that motors do not get ────────────────────────────────────────────────────────────────────────────────


def under_way(arms: int = 1) -> Rig:
    """In the middle of a task, every joint at 1.6 rad/s or more."""
    rig = Rig(robot(arms=arms))
    rig.run_task()
    rig.chunk(rig.loop.buses.setpoint_rad + 0.08 * np.arange(10)[:, None], age_ns=0)
    rig.tick(30)
    assert (steps(rig)[-1] > 0.015).all()
    return rig


def steps(rig: Rig) -> np.ndarray:
    """From each setpoint that the first bus was sent to the next, [writes - 1, joints]."""
    return np.diff(rig.emitted(), axis=0)


@pytest.mark.parametrize("slots", [2, 3, 15])
def test_after_a_stall_while_a_setpoint_is_made_ready_the_arm_goes_on_if_it_was_short_and_begins_from_rest_if_not(
    slots: int,
) -> None:
    rig = under_way()
    speed = steps(rig)[-1]
    rig.clock.advance(slots * PERIOD_NS)
    rig.tick(2)
    first, second = steps(rig)[-2:]
    if slots == 2:  # in periods without a setpoint
        assert (first > 0.9 * speed).all()
        assert (first <= Limits.of(rig.robot).velocity * 0.01 + 1e-12).all()
    else:
        assert (first <= Limits.of(rig.robot).jerk * 0.01**3).all()
    assert (np.abs(second - first) <= Limits.of(rig.robot).acceleration * 0.01**2 + 1e-12).all()


@pytest.mark.parametrize("lost", [1, 2, 3, 6])
def test_setpoints_that_a_bus_does_not_take_make_the_motion_later_and_after_more_than_one_it_begins_from_rest(
    lost: int,
) -> None:
    rig = under_way(arms=2)
    left, right = rig.buses
    before, others = left.writes[-1], len(right.writes)
    speed = steps(rig)[-1]
    left.fail(Timeout("the port takes no more bytes"), "write_setpoints")
    rig.tick(lost)
    left.trouble.clear()
    rig.tick(8)
    assert rig.mode == "RUN (task)"
    assert len(right.writes) == others + lost + 8
    sent = np.array([before[1], *(row for _, row in left.writes[-8:])])
    went, limits = np.diff(sent, axis=0), Limits.of(rig.robot)
    assert left.writes[-8][0] - before[0] == (lost + 1) * PERIOD_NS
    if lost == 1:
        assert (went[0] > 0.9 * speed).all()
    else:
        assert (went[0] <= limits.jerk[:6] * 0.01**3).all()
    assert (np.abs(went) <= limits.velocity[:6] * 0.01 + 1e-12).all()
    assert (np.abs(np.diff(went, axis=0)) <= limits.acceleration[:6] * 0.01**2 + 1e-9).all()
    both = np.diff([row for _, row in right.writes], axis=0)
    assert (np.abs(np.diff(both, axis=0)) <= limits.acceleration[:6] * 0.01**2 + 1e-9).all()


def test_of_a_setpoint_that_got_half_way_only_the_other_half_is_taken_back() -> None:
    rig = under_way()
    last, bus = rig.bus.writes[-1][1], rig.bus
    bus.told = 2
    bus.fail(Timeout("the interface takes no more frames"), "write_setpoints")
    rig.tick()
    at = rig.loop.limiter.position_rad.copy()
    assert (at[:2] > last[:2] + 0.015).all()
    assert at[2:].tolist() == last[2:].tolist()
    assert rig.loop.buses.setpoint_rad.tolist() == at.tolist()
    bus.trouble.clear()
    rig.tick()
    went = rig.bus.writes[-1][1] - at
    assert (went > 0.015).all()
    assert (went <= Limits.of(rig.robot).velocity * 0.01 + 1e-12).all()


def test_a_half_that_is_told_on_and_on_keeps_moving_while_the_other_stands() -> None:
    rig = under_way()
    last, bus = rig.bus.writes[-1][1], rig.bus
    bus.told = 2
    bus.fail(Timeout("the interface takes no more frames"), "write_setpoints")
    rig.tick(5)
    state = np.zeros((3, 6))
    rig.loop.limiter.emitted(state)
    assert (state[0, :2] > last[:2] + 0.07).all()
    assert state[0, 2:].tolist() == last[2:].tolist()
    bus.trouble.clear()
    rig.tick()
    went = rig.bus.writes[-1][1] - state[0]
    assert (went[:2] > 0.015).all()
    assert (went[2:] <= Limits.of(rig.robot).jerk[2:] * 0.01**3).all()


def test_a_setpoint_after_a_lost_one_may_be_late_by_less() -> None:
    """Its motors have stood for two periods already at its slot; of one more at most it may be late."""
    rig = under_way()
    for late_ns, goes in ((PERIOD_NS, True), (PERIOD_NS + 1, False)):
        rig.tick(3)
        rig.bus.fail(Timeout("no"), "write_setpoints")
        rig.tick()
        rig.bus.trouble.clear()
        count = len(rig.bus.writes)
        rig.loop.pacer.prepare()
        rig.loop._sample()
        rig.loop._limit()
        rig.clock.sleep_until(rig.loop.pacer.due_ns + late_ns)
        rig.loop._cycle(True)
        assert (len(rig.bus.writes) > count) == goes
        rig.tick(3)
