"""The world keeps up with the clock, and a starved simulator catches up in bounded steps."""

from __future__ import annotations

import threading
import time

import pytest

from drivers.feetech import packets, sts
from drivers.sim.feetech_device import FeetechDevice
from drivers.sim.realtime import RealTime
from tests.drivers.fake_joints import FakeJoints


class Clock:
    now_ns = 1_000_000_000

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def live(clock: Clock) -> RealTime:
    joints = FakeJoints()
    return RealTime(joints, FeetechDevice(joints), clock)


def test_it_steps_to_the_present_on_a_grid_of_a_millisecond(live: RealTime, clock: Clock) -> None:
    for advance_us, steps in ((900, 0), (200, 1), (2899, 3), (1, 4), (0, 4)):
        clock.now_ns += advance_us * 1000
        live.advance()
        assert live.steps == steps
    assert live.world.time_s == pytest.approx(0.004)  # type: ignore[attr-defined]
    assert live.slipped_ns == 0


def test_a_request_is_answered_from_the_present(live: RealTime, clock: Clock) -> None:
    goal = 2148
    live.feed(packets.write(1, 42, goal.to_bytes(2, "little")) + packets.write(1, 40, b"\1"))
    clock.now_ns += 5_000_000
    answer = live.feed(packets.read(1, sts.PRESENT_POSITION.address, 2))[0].packet
    assert int.from_bytes(answer[5:7], "little") == goal


def test_starved_it_catches_up_to_a_limit_and_lets_the_rest_slip(live: RealTime, clock: Clock) -> None:
    clock.now_ns += 3_000_000_000
    live.advance()
    assert live.steps == 100
    assert live.slipped_ns == 2_900_000_000
    clock.now_ns += 2_000_000
    live.advance()
    assert live.steps == 102, "no debt is left over"


def test_protections_run_in_simulated_time(live: RealTime, clock: Clock) -> None:
    live.feed(packets.write(1, 40, b"\1"))
    live.world.current_a[0] = 2.6
    for _ in range(198):
        clock.now_ns += 10_000_000
        live.advance()
    assert live.world.torque_on[0]
    for _ in range(4):
        clock.now_ns += 10_000_000
        live.advance()
    assert not live.world.torque_on[0]


def test_reset_leaves_what_the_servos_tables_say(live: RealTime) -> None:
    live.feed(packets.write(2, 42, (2148).to_bytes(2, "little")) + packets.write(2, 40, b"\1"))
    live.reset(7)
    assert live.world.seeds == [7]  # type: ignore[attr-defined]
    assert live.world.torque_on.tolist() == [False, True, False, False, False, False]
    assert live.world.goal_rad[1] == pytest.approx(100 * sts.RAD_PER_STEP)


def test_it_runs_by_itself_until_told_to_stop() -> None:
    joints, stop = FakeJoints(), threading.Event()
    live = RealTime(joints, FeetechDevice(joints))
    runner = threading.Thread(target=live.run, args=(stop, 60.0))
    runner.start()
    time.sleep(0.3)
    stop.set()
    runner.join(2.0)
    assert not runner.is_alive()
    assert joints.time_s + live.slipped_ns * 1e-9 == pytest.approx(0.3, abs=0.1)
