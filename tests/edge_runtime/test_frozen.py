"""A camera that goes on delivering one picture: late while the arm moves, and nothing where nothing moves."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from drivers.cameras.base import CameraSettings
from edge_runtime.frozen import MOVED_RAD, Frozen
from edge_runtime.observation import CameraThread
from tests.edge_runtime.fakes import FakeCamera, FakeFrames, Rig, robot

MS = 1_000_000
DT_S = 0.05


def sweep(rig: Rig, speed_rad_s: float = 0.5) -> None:
    """A fresh chunk that moves the first joint on."""
    actions = np.repeat(rig.loop.buses.setpoint_rad[None], 10, axis=0)
    actions[:, 0] += speed_rad_s * DT_S * np.arange(10)
    rig.chunk(actions, age_ns=0)


def test_the_time_of_a_repeated_picture_counts_from_its_first_stamp() -> None:
    pictures = [1, 2, 2 + 251, 2 + 2 * 251, 3 + 2 * 251]  # of which the second comes three times
    camera = FakeCamera(CameraSettings("base", "/dev/none", 8, 6, 30.0), lambda n: pictures[n - 1])
    thread = CameraThread(camera, arrived=threading.Event(), report=lambda name, cause: None)
    seen = []
    for _ in pictures:
        thread.read()
        seen.append(thread.frozen_ns)
    assert seen == [0, 0, 251 * MS, 2 * 251 * MS, 0]


def test_the_same_picture_counts_once_a_joint_has_moved_since_it_was_new() -> None:
    rig = Rig(robot())
    frozen, out, where = Frozen(rig.cameras, 6), [0, 0], np.full(6, 0.3)
    frozen.check(where, out)
    rig.cameras[1].frozen_ns = 700 * MS
    where[2] -= MOVED_RAD * 0.99
    frozen.check(where, out)
    assert out == [0, 0]
    where[2] -= MOVED_RAD * 0.02
    frozen.check(where, out)
    assert out == [0, 700 * MS]
    where[2] += MOVED_RAD
    frozen.check(where, out)
    assert out == [0, 700 * MS], "a joint that has come back was elsewhere all the same"
    rig.cameras[1].frozen_ns = 0
    frozen.check(where, out)
    rig.cameras[1].frozen_ns = 33 * MS
    frozen.check(where, out)
    assert out == [0, 0], "the way is counted anew from the next new picture"


def repeating(rig: Rig, camera: FakeFrames) -> None:
    camera.frozen_ns += rig.loop.pacer.period_ns


@pytest.mark.parametrize("speed", [0.0, 0.5])
def test_a_camera_that_repeats_itself_ends_in_hold_while_the_arm_moves_and_is_no_matter_while_it_rests(
    speed: float,
) -> None:
    rig = Rig(robot())
    rig.run_task()
    ticks = 0
    while rig.mode != "HOLD" and ticks < 300:
        sweep(rig, speed)
        repeating(rig, rig.cameras[1])
        rig.tick()
        ticks += 1
    if not speed:
        assert (rig.mode, rig.named("camera frozen")) == ("RUN (task)", [])
        return
    assert ticks == pytest.approx(50 + 100, abs=3), "frozen_ms, then coast_ms"
    assert rig.named("camera frozen") == ["camera wrist has shown the same picture for 510.0 ms, limit 500 ms"]
    assert rig.named("COAST (task)") == rig.named("camera frozen")


def test_a_new_picture_ends_the_coasting() -> None:
    rig = Rig(robot())
    rig.run_task()

    def go_on() -> None:
        sweep(rig)
        repeating(rig, rig.cameras[0])

    rig.until("COAST (task)", limit=80, each=go_on)
    rig.cameras[0].frozen_ns = 0
    sweep(rig)
    rig.tick()
    assert rig.mode == "RUN (task)"


def test_zero_switches_it_off() -> None:
    rig = Rig(robot(deadlines={"frozen_ms": 0.0}))
    rig.run_task()
    for _ in range(300):
        sweep(rig)
        repeating(rig, rig.cameras[1])
        rig.tick()
    assert rig.mode == "RUN (task)"
