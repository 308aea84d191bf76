"""Every deadline, just below and just above it: what happens, why, and how often it is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from drivers.errors import Disconnected, Overload, Timeout
from edge_runtime import states
from edge_runtime.brake import Brake
from edge_runtime.buses import Line
from edge_runtime.clock import FakeClock
from edge_runtime.config import Deadlines
from edge_runtime.devices import bus_settings
from edge_runtime.states import Happening, Mode
from edge_runtime.watchdog import Readings, Watchdog
from tests.edge_runtime.fakes import FakeBus, Rig, robot

MS = 1_000_000
NOW = 10_000 * MS
DRIVING = [mode for mode in states.TRANSITIONS if mode.drives]


class Post:
    """A watchdog, one bus and readings in which all is well."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        bus = FakeBus(bus_settings(robot().buses[0]), FakeClock())
        self.line = Line(bus, slice(0, 6), np.zeros(6), np.zeros(6))
        self.watchdog = Watchdog(
            Deadlines(), ["base", "wrist"], [self.line], lambda name, cause: self.events.append((name, cause))
        )
        self.now = Readings(2)
        self.now.now_ns = NOW
        self.now.frame_ns = [NOW - 30 * MS, NOW - 40 * MS]
        self.now.chunk_ns = NOW - 100 * MS
        self.now.coasting_since_ns = NOW
        self.now.hand_ns = NOW - 15 * MS

    def judge(self, mode: Mode = states.TASK, **readings: Any) -> Happening | None:
        for name, value in readings.items():
            setattr(self.now, name, value)
        return self.watchdog.judge(mode, self.now)

    def miss(self, error: Exception, times: int = 1) -> None:
        for _ in range(times):
            self.line.fail(error)  # type: ignore[arg-type]
            self.line.close_cycle()


@pytest.fixture
def post() -> Post:
    return Post()


def test_all_is_well(post: Post) -> None:
    for mode in states.TRANSITIONS:
        if mode is not states.COAST:
            assert post.judge(mode) is None
    assert post.judge(states.COAST) is Happening.FRESH
    assert post.events == []
    assert set(post.watchdog.counts().values()) == {0}


LATE = [
    ("frame late", {"frame_ns": [NOW - 200 * MS, NOW]}, {"frame_ns": [NOW - 200 * MS - 1, NOW]}),
    ("frame late", {"frame_ns": [NOW, NOW - 200 * MS]}, {"frame_ns": [NOW, NOW - 200 * MS - 1]}),
    ("camera frozen", {"frozen_ns": [0, 500 * MS]}, {"frozen_ns": [0, 500 * MS + 1]}),
    ("chunk late", {"chunk_ns": NOW - 600 * MS}, {"chunk_ns": NOW - 600 * MS - 1}),
    ("inference late", {"inference_started_ns": NOW - 250 * MS}, {"inference_started_ns": NOW - 250 * MS - 1}),
]


@pytest.mark.parametrize(("name", "in_time", "late"), LATE)
def test_an_arrow_of_the_frames_way_leads_from_run_to_coast(post: Post, name: str, in_time: dict, late: dict) -> None:
    assert post.judge(**in_time) is None
    assert post.judge(**late) is Happening.LATE
    assert [event for event, _ in post.events] == [name]
    assert post.watchdog.cause == post.events[0][1]
    assert post.watchdog.counts()[name] == 1
    assert post.judge(states.COAST, **late) is None
    assert post.watchdog.counts()[name] == 1  # it is still the same lateness
    assert post.judge(states.COAST, **in_time) is Happening.FRESH
    assert post.judge(**late) is Happening.LATE
    assert post.watchdog.counts()[name] == 2


@pytest.mark.parametrize(("name", "in_time", "late"), LATE)
def test_arrows_are_judged_only_during_a_task(post: Post, name: str, in_time: dict, late: dict) -> None:
    for mode in states.TRANSITIONS:
        if mode not in (states.TASK, states.COAST):
            assert post.judge(mode, **late) is None
    assert post.watchdog.counts()[name] == 0


@pytest.mark.parametrize("mode", [m for m in states.TRANSITIONS if m.state is not states.State.TAKEOVER], ids=str)
def test_an_inference_that_never_ends_is_found_in_every_mode(post: Post, mode: Mode) -> None:
    post.now.inference_started_ns = NOW - 10_000 * MS
    assert post.watchdog.hung(mode, post.now) == ""
    post.now.inference_started_ns -= 1
    for _ in range(2):
        assert post.watchdog.hung(mode, post.now) == "inference in flight for 10000.0 ms, limit 10000 ms"
    assert post.events == [("inference hung", "inference in flight for 10000.0 ms, limit 10000 ms")]
    assert post.watchdog.counts()["inference hung"] == 1
    post.now.inference_started_ns = 0
    assert post.watchdog.hung(mode, post.now) == ""


@pytest.mark.parametrize("mode", [m for m in states.TRANSITIONS if m.state is not states.State.TAKEOVER], ids=str)
def test_a_device_that_is_lost_is_found_in_every_mode(post: Post, mode: Mode) -> None:
    assert post.watchdog.lost(mode, post.now) == ""
    post.now.device_lost = "illegal address"
    for _ in range(2):
        assert post.watchdog.lost(mode, post.now) == "illegal address"
    assert post.events == [("device lost", "illegal address")]
    assert post.watchdog.counts()["device lost"] == 1


@pytest.mark.parametrize("mode", [states.TAKEN, states.TAKEN_TASK], ids=str)
def test_nobody_loses_the_arm_they_drive_for_what_the_policy_runs_on(post: Post, mode: Mode) -> None:
    post.now.inference_started_ns = NOW - 20_000 * MS
    post.now.device_lost = "illegal address"
    assert post.watchdog.hung(mode, post.now) == post.watchdog.lost(mode, post.now) == ""
    assert post.events == [("device lost", "illegal address")], "they are told all the same"
    assert post.watchdog.hung(states.READY, post.now)
    assert post.watchdog.lost(states.READY, post.now)


def test_lateness_of_an_earlier_task_is_not_that_of_this_one(post: Post) -> None:
    for count in (1, 2):
        assert post.judge(chunk_ns=NOW - 700 * MS) is Happening.LATE
        assert post.watchdog.counts()["chunk late"] == count
        post.judge(states.READY)


def test_the_cause_names_the_camera_and_both_figures(post: Post) -> None:
    post.judge(frame_ns=[NOW, NOW - 231 * MS])
    assert post.watchdog.cause == "newest frame of camera wrist is 231.0 ms old, limit 200 ms"


def test_no_inference_in_flight_is_not_late(post: Post) -> None:
    assert post.judge(inference_started_ns=0) is None


def test_a_failed_inference_coasts_until_one_succeeds(post: Post) -> None:
    assert post.judge(inference_failure="ValueError: bad") is Happening.LATE
    assert post.watchdog.cause == "ValueError: bad"
    assert post.judge(states.COAST) is None
    assert post.judge(states.COAST, inference_failure="") is Happening.FRESH


def test_the_end_of_a_chunk_leads_to_coast_and_at_rest_to_hold(post: Post) -> None:
    assert post.judge(chunk_over=True) is Happening.LATE
    assert post.watchdog.cause == "the last action of the chunk was due"
    assert post.judge(states.COAST, still=False) is None
    assert post.judge(states.COAST, still=True) is Happening.FAULT
    assert post.watchdog.cause == "nothing left to coast on: the last action of the chunk was due"
    assert post.judge(states.COAST, still=False, chunk_over=False) is Happening.FRESH


def test_before_the_first_chunk_a_resting_arm_waits_as_long_as_it_may_coast(post: Post) -> None:
    post.now.still, post.now.chunk_over = True, False
    assert post.judge(inference_failure="ValueError: bad") is Happening.LATE
    assert post.judge(states.COAST, coasting_since_ns=NOW - 1000 * MS) is None
    assert post.judge(states.COAST, coasting_since_ns=NOW - 1001 * MS) is Happening.FAULT
    assert post.judge(states.COAST, inference_failure="", coasting_since_ns=NOW) is Happening.FRESH


def test_waiting_for_the_first_chunk_is_no_lateness_until_its_deadline(post: Post) -> None:
    assert post.judge(still=True, chunk_ns=NOW - 600 * MS) is None
    assert post.judge(chunk_ns=NOW - 601 * MS) is Happening.LATE


def test_coast_has_an_end(post: Post) -> None:
    late = {"chunk_ns": NOW - 700 * MS}
    assert post.judge(states.COAST, coasting_since_ns=NOW - 1000 * MS, **late) is None
    assert post.judge(states.COAST, coasting_since_ns=NOW - 1001 * MS, **late) is Happening.FAULT
    assert post.watchdog.cause == "coasting for 1001.0 ms, limit 1000 ms"
    assert post.watchdog.counts()["coast late"] == 1


def test_a_late_tick_is_an_event_and_no_more(post: Post) -> None:
    assert post.judge(lateness_ns=5 * MS) is None
    assert post.events == []
    assert post.judge(lateness_ns=5 * MS + 1) is None
    assert post.events == [("tick late", "control tick woke 5.0 ms late, limit 5 ms")]
    post.judge(states.DISARMED, lateness_ns=0)
    post.judge(states.DISARMED, lateness_ns=9 * MS)
    assert post.watchdog.counts()["tick late"] == 2


def test_a_tick_that_is_late_every_other_time_is_one_event_until_it_was_in_time_for_a_second(post: Post) -> None:
    for tick in range(600):
        post.judge(states.READY, now_ns=NOW + tick * 10 * MS, lateness_ns=tick % 2 * 6 * MS)
    assert post.events == [("tick late", "control tick woke 6.0 ms late, limit 5 ms")]
    assert post.watchdog.counts()["tick late"] == 300
    last_ns = NOW + 599 * 10 * MS
    post.judge(states.READY, now_ns=last_ns + 990 * MS, lateness_ns=0)
    post.judge(states.READY, now_ns=last_ns + 1000 * MS, lateness_ns=7 * MS)
    assert [cause for _, cause in post.events][1:] == ["control tick woke 7.0 ms late, limit 5 ms"]


@pytest.mark.parametrize("mode", DRIVING, ids=str)
def test_a_silent_bus_faults_every_mode_that_drives(post: Post, mode: Mode) -> None:
    post.miss(Timeout("no answer"), 9)
    assert post.judge(mode) is None or mode is states.COAST
    post.miss(Timeout("no answer"))
    expected = None if mode is states.FAULTED else Happening.FAULT
    assert post.judge(mode) is expected


def test_a_bus_still_silent_when_the_arm_has_stopped_is_lost(post: Post) -> None:
    post.miss(Timeout("no answer"), 10)
    assert post.judge(states.FAULTED, still=False) is None
    assert post.judge(states.FAULTED, still=True) is Happening.LOST
    assert post.watchdog.cause == "10 serial cycles in a row failed: no answer"


def test_a_port_that_is_gone_is_not_waited_for(post: Post) -> None:
    post.miss(Disconnected("unplugged"))
    assert post.judge() is Happening.FAULT


def test_one_good_cycle_starts_the_count_of_misses_again(post: Post) -> None:
    post.miss(Timeout("no answer"), 9)
    post.line.close_cycle()
    post.miss(Timeout("no answer"), 9)
    assert post.judge() is None
    assert post.line.missed == 18


def test_a_bus_that_fails_every_other_cycle_is_one_event_until_it_was_good_for_a_second(post: Post) -> None:
    def cycle(at_ns: int, *, good: bool) -> None:
        if good:
            post.line.close_cycle()
        else:
            post.miss(Timeout("no answer"))
        post.judge(states.READY, now_ns=at_ns)

    for tick in range(600):
        cycle(NOW + tick * 10 * MS, good=tick % 2 == 0)
    assert post.events == [("serial miss", "no answer")]
    assert post.line.missed == 300
    last_ns = NOW + 599 * 10 * MS
    cycle(last_ns + 10 * MS, good=True)
    cycle(last_ns + 999 * MS, good=False)
    assert len(post.events) == 1
    cycle(last_ns + 1_009 * MS, good=True)
    cycle(last_ns + 1_999 * MS, good=False)
    assert len(post.events) == 2


def test_a_motor_fault_holds_and_is_not_a_lost_bus(post: Post) -> None:
    post.miss(Overload("gripper: overload"))
    assert post.judge(states.READY) is Happening.FAULT
    assert post.watchdog.cause == "gripper: overload"
    post.line.close_cycle()
    assert post.judge(states.FAULTED, still=True) is None


def test_a_refused_setpoint_faults(post: Post) -> None:
    assert post.judge(states.PARK, refused="gripper") is Happening.FAULT
    assert post.watchdog.cause == "setpoint of gripper is not finite"


@pytest.mark.parametrize("mode", DRIVING, ids=str)
def test_a_pressed_e_stop_faults_every_mode_that_drives(post: Post, mode: Mode) -> None:
    expected = None if mode is states.FAULTED else Happening.FAULT
    assert post.judge(mode, pressed="e-stop left is pressed", terminated=True) is expected
    if expected:
        assert post.watchdog.cause == "e-stop left is pressed"


@pytest.mark.parametrize("mode", [states.TAKEN, states.TAKEN_TASK], ids=str)
def test_a_hand_that_is_lost_ends_a_takeover(post: Post, mode: Mode) -> None:
    assert post.judge(mode, hand_ns=NOW - 200 * MS) is None
    assert post.judge(mode, hand_ns=NOW - 200 * MS - 1) is Happening.FAULT
    assert post.watchdog.cause == "newest reading of the hand is 200.0 ms old, limit 200 ms"
    assert post.watchdog.counts()["hand late"] == 1


def test_a_hand_that_is_lost_is_no_matter_where_it_does_not_drive(post: Post) -> None:
    for mode in states.TRANSITIONS:
        if mode.state is not states.State.TAKEOVER and mode is not states.COAST:
            assert post.judge(mode, hand_ns=0) is None
    assert post.watchdog.counts()["hand late"] == 0


def test_a_bus_that_was_given_up_is_lost_until_it_is_forgotten(post: Post) -> None:
    post.miss(Timeout("no answer"), 9)
    post.judge()
    assert not post.line.lost
    post.miss(Timeout("no answer"))
    post.judge(states.DISARMED)
    post.line.close_cycle()  # it answers again, and may be another one
    post.judge(states.DISARMED)
    assert post.line.lost
    post.line.forget()
    assert not post.line.lost


@pytest.mark.parametrize("mode", [states.DISARMED, states.SAFE], ids=str)
def test_nothing_happens_where_nothing_is_driven(post: Post, mode: Mode) -> None:
    post.miss(Disconnected("unplugged"), 50)
    assert post.judge(mode, refused="gripper", pressed="left", still=True, chunk_ns=0) is None


# ── the whole way, through the real loop ────────────────────────────────────────────────────────────────────────────


def test_run_coast_run_when_the_camera_comes_back() -> None:
    rig = Rig(robot())
    rig.run_task()
    rig.cameras[1].stop()
    rig.until("COAST (task)", limit=40, each=rig.fed)
    rig.cameras[1].stopped_ns = None
    rig.tick()
    assert rig.mode == "RUN (task)"
    assert len(rig.named("frame late")) == 1


def test_run_coast_hold_when_inference_hangs() -> None:
    rig = Rig(robot())
    rig.run_task()
    rig.link.inference_started_ns = rig.clock.now_ns()
    assert rig.until("COAST (task)", limit=40) == pytest.approx(25, abs=1)
    ticks = rig.until("HOLD", limit=100)  # the chunk of 450 ms, 100 ms old when it came, is followed to its end
    assert ticks == pytest.approx(11, abs=2)
    assert "nothing left to coast on: inference in flight" in rig.named("HOLD")[0]
    rig.tick(200)
    assert rig.mode == "HOLD"
    assert rig.bus.torque


def test_hold_safe_and_the_end_when_inference_never_ends() -> None:
    rig = Rig(robot(deadlines={"hung_ms": 2_000.0}))
    rig.run_task()
    began_ns = rig.link.inference_started_ns = rig.clock.now_ns()
    rig.loop.run()
    assert rig.clock.now_ns() - began_ns == pytest.approx(2_000 * MS, abs=20 * MS)
    assert rig.loop.hung == rig.named("inference hung")[0]
    assert [event.name for event in rig.events][-3:] == ["HOLD", "inference hung", "SAFE"]
    assert rig.named("SAFE") == [f"inference hung: {rig.loop.hung}"]
    assert rig.bus.safe


def test_a_stop_safe_and_the_end_when_the_device_is_lost() -> None:
    rig = Rig(robot())
    rig.run_task()
    rig.link.lost = "illegal address"
    rig.loop.run()
    assert [event.name for event in rig.events][-3:] == ["device lost", "HOLD (task)", "SAFE"]
    assert rig.named("SAFE") == ["device lost: illegal address"]
    assert np.abs(np.diff(rig.emitted(), axis=0)[-1]).max() < 1e-4
    assert rig.bus.safe


def test_what_a_person_had_ended_before_stops_first_when_inference_never_ends() -> None:
    rig = Rig(robot(deadlines={"hung_ms": 1_300.0}))
    rig.run_task()
    rig.link.inference_started_ns = rig.clock.now_ns() - 1_250 * MS
    rig.say("done")
    rig.loop.run()
    assert [event.name for event in rig.events][-4:] == ["RUN (park)", "inference hung", "HOLD (park)", "SAFE"]
    assert np.abs(np.diff(rig.emitted(), axis=0)[-1]).max() < 1e-4
    assert rig.bus.safe


def test_behind_a_chunk_that_ends_the_arm_comes_to_rest_and_a_fresh_chunk_takes_it_on() -> None:
    rig = Rig(robot())
    rig.run_task()
    ramp = rig.loop.buses.setpoint_rad + 0.5 * np.arange(10)[:, None] * 0.05  # 0.5 rad/s, for 450 ms
    rig.chunk(ramp, age_ns=0)
    rig.until("COAST (task)", limit=60)
    rig.tick(3)
    rig.chunk(rig.loop.buses.setpoint_rad + np.zeros((10, 1)))
    rig.tick(2)
    assert rig.mode == "RUN (task)"
    rig.chunk(ramp, age_ns=0)
    rig.until("COAST (task)", limit=60)
    state, brake = np.zeros((3, 6)), Brake(10.0, 100.0)
    rig.loop.limiter.emitted(state)
    assert (state[1] > 0.1).all()  # still under way
    brake.plan(*state[:, 0].tolist())
    rig.until("HOLD", limit=100)
    assert rig.loop.buses.setpoint_rad[0] == pytest.approx(brake.end, abs=1e-9)
    bend = np.diff(rig.emitted(), n=2, axis=0) / 0.01**2
    assert np.abs(bend).max() <= 10.0 * (1.0 + 1e-9)


def test_coast_keeps_following_the_chunk() -> None:
    rig = Rig(robot(deadlines={"chunk_age_ms": 120.0}))
    rig.run_task()
    at_s = np.arange(10)[:, None] * 0.05
    rig.chunk(rig.loop.buses.setpoint_rad + 0.5 * 0.1 * at_s**2, age_ns=100 * MS)
    rig.until("COAST (task)", limit=10)
    rig.tick(5)
    before = rig.loop.buses.setpoint_rad.copy()
    rig.tick(5)
    assert rig.mode == "COAST (task)"
    assert (rig.loop.buses.setpoint_rad > before).all()


def test_a_failed_inference_of_an_earlier_task_does_not_count() -> None:
    rig = Rig(robot())
    rig.run_task()
    rig.link.failure = (rig.link.request.number, "ValueError: bad")
    rig.tick()
    assert rig.mode == "COAST (task)"
    rig.until("HOLD")
    rig.tick(100)
    rig.say("reset")
    rig.say("task", "again")
    rig.until("RUN (task)")
    rig.chunk()
    rig.tick(5)
    assert rig.mode == "RUN (task)"
