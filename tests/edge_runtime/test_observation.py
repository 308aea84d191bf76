"""Cameras that stall, freeze, skip and come back, and what an observation is made of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from drivers.cameras.base import CameraSettings
from drivers.errors import Disconnected, Timeout
from edge_runtime import observation
from edge_runtime.link import Link
from edge_runtime.observation import CameraThread, Observer
from tests.edge_runtime.fakes import FakeCamera

SETTINGS = CameraSettings("base", "/dev/none", 8, 6, 30.0)
MS = 1_000_000


def thread(
    script: Callable[[int], int], events: list[tuple[str, str]] | None = None
) -> tuple[CameraThread, FakeCamera]:
    camera = FakeCamera(SETTINGS, script)
    report = (lambda name, cause: None) if events is None else (lambda name, cause: events.append((name, cause)))
    return CameraThread(camera, arrived=threading.Event(), report=report), camera


def wait(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never happened")


def test_the_newest_frame_wins_with_its_own_stamp() -> None:
    cameras, _ = thread(lambda n: n)
    for _ in range(3):
        cameras.read()
    picture = cameras.pictures.take()
    assert picture is not None
    assert picture.capture_ns == cameras.capture_ns == 3 * MS
    assert (picture.pixels == 3).all()


def test_dropped_and_frozen_frames_are_counted() -> None:
    numbers = [1, 2, 2 + 251, 10 + 251, 11 + 251]  # 253 has the content of 2
    cameras, _ = thread(lambda n: numbers[n - 1])
    for _ in numbers:
        cameras.read()
    assert cameras.counts == {"frames": 5, "dropped": 250 + 7, "frozen": 1, "reopened": 0}


@pytest.mark.parametrize("error", [Timeout("camera base: silent"), Disconnected("camera base: unplugged")])
def test_a_lost_camera_is_opened_again_with_backoff(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observation, "BACKOFF_S", (0.01, 0.02))
    healthy, events = threading.Event(), []

    def script(n: int) -> int:
        threading.Event().wait(0.001)
        if n > 5 and not healthy.is_set():
            raise error
        return n

    cameras, camera = thread(script, events)
    cameras.start()
    wait(lambda: not camera.is_open)
    camera.open_errors += [Disconnected("still away"), Disconnected("still away")]
    seen = cameras.capture_ns
    wait(lambda: not camera.open_errors)
    assert cameras.capture_ns == seen  # its age shows
    healthy.set()
    wait(lambda: cameras.capture_ns > seen)
    assert cameras.counts["reopened"] >= 1
    assert events == [("camera lost", str(error))]  # once, however often it was tried
    healthy.clear()
    wait(lambda: len(events) == 2)  # and again when it is lost again
    cameras.stop()
    assert not camera.is_open


def test_a_camera_that_cannot_be_opened_at_the_start_says_so() -> None:
    cameras, camera = thread(lambda n: n)
    camera.open_errors.append(Disconnected("camera base: no such device"))
    with pytest.raises(Disconnected, match="no such device"):
        cameras.start()
    cameras.stop()


def test_a_camera_that_hangs_in_its_driver_does_not_keep_the_end_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observation, "JOIN_S", 0.0)
    let_go = threading.Event()

    def script(n: int) -> int:
        let_go.wait(30.0)
        return n

    cameras, camera = thread(script)
    cameras.start()
    wait(lambda: camera.reads == 1)
    began_s = time.monotonic()
    cameras.stop()
    assert time.monotonic() - began_s < 5.0
    assert camera.is_open  # closing it under its reader would be worse
    let_go.set()


def observer(count: int) -> tuple[Observer, list[CameraThread], dict[str, np.ndarray], Link]:
    names = [f"camera{k}" for k in range(count)]
    threads = []
    for k, name in enumerate(names):
        camera = FakeCamera(CameraSettings(name, "/dev/none", 8, 6, 30.0), lambda n, k=k: 10 * n + k)
        threads.append(CameraThread(camera, arrived=threading.Event(), report=lambda name, cause: None))
    link = Link(4, 3, 50 * MS)
    frames = {name: np.zeros((6, 8, 3), np.uint8) for name in names}
    return Observer(threads, frames, link), threads, frames, link


def publish(link: Link, value: float) -> None:
    link.joints.back[:] = value
    link.joints.publish()


def test_an_observation_has_the_newest_of_all_and_the_time_of_the_oldest() -> None:
    watch, cameras, frames, link = observer(2)
    state = np.zeros(3)
    publish(link, 0.5)
    cameras[0].read()
    assert watch.observe(state) == 0  # the other camera has nothing yet
    cameras[1].read()
    cameras[0].read()
    assert watch.observe(state) == 11 * MS
    assert (frames["camera0"] == 20).all()
    assert (frames["camera1"] == 11).all()
    assert (state == 0.5).all()


def test_the_same_frame_is_not_observed_twice() -> None:
    watch, cameras, _, link = observer(2)
    state = np.zeros(3)
    publish(link, 0.5)
    for camera in cameras:
        camera.read()
    assert watch.observe(state)
    publish(link, 0.7)
    assert watch.observe(state) == 0
    cameras[0].read()
    assert watch.observe(state) == 0
    assert (state == 0.5).all()
    cameras[1].read()
    assert watch.observe(state) == 20 * MS
    assert (state == 0.7).all()


def test_frames_are_those_of_the_cameras_that_the_robot_has() -> None:
    """The policy's other buffers are no part of an observation, nor are cameras that it does not know."""
    _, cameras, frames, link = observer(2)
    frames["top"] = np.zeros((6, 8, 3), np.uint8)
    del frames["camera1"]
    watch = Observer(cameras, frames, link)
    assert list(watch.frames) == ["camera0"]
    assert watch.frames["camera0"] is frames["camera0"]
    publish(link, 0.5)
    cameras[0].read()
    assert watch.observe(np.zeros(3)) == 10 * MS
    assert (frames["camera0"] == 10).all()
    assert not frames["top"].any()


def test_a_policy_that_reads_no_state_observes_frames_all_the_same() -> None:
    watch, cameras, _, link = observer(1)
    cameras[0].read()
    assert watch.observe(np.zeros(0)) == 0  # not before the joints were read: the arm is there, or nothing is asked
    publish(link, 0.5)
    assert watch.observe(np.zeros(0)) == 10 * MS


def test_nothing_is_observed_before_the_joints_were_read() -> None:
    watch, cameras, _, _ = observer(1)
    cameras[0].read()
    assert watch.observe(np.zeros(3)) == 0
