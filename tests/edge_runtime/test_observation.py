"""Cameras that stall, freeze, skip and come back, and what an observation is made of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from drivers.cameras.base import CameraSettings, Stamp
from drivers.errors import Disconnected, Timeout
from edge_runtime import device_thread, observation
from edge_runtime.link import Link
from edge_runtime.observation import CameraThread, Observer
from tests.drivers.fake_time import FakeTime
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


def test_the_measured_delay_is_taken_off_each_stamp() -> None:
    camera = FakeCamera(SETTINGS, lambda n: 100 * n)
    cameras = CameraThread(camera, arrived=threading.Event(), report=lambda name, cause: None, delay_ns=47 * MS)
    for _ in range(2):
        cameras.read()
    picture = cameras.pictures.take()
    assert picture is not None
    assert picture.capture_ns == cameras.capture_ns == 153 * MS


def test_dropped_and_frozen_frames_are_counted() -> None:
    numbers = [1, 2, 2 + 251, 10 + 251, 11 + 251]  # 253 has the content of 2
    cameras, _ = thread(lambda n: numbers[n - 1])
    for _ in numbers:
        cameras.read()
    counts = cameras.counts
    assert (counts["frames"], counts["dropped"], counts["frozen"], counts["reopened"]) == (5, 250 + 7, 1, 0)


def test_late_frames_are_counted_and_those_after_dropped_ones_are_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 30 a second a frame is due 33.3 ms after the last, and late half of that later."""
    arrivals = [(1, 0), (2, 33), (3, 82), (4, 133), (6, 199), (8, 283), (9, 316)]  # frame, ms
    late = [4, 8]
    monkeypatch.setattr(observation, "time", FakeTime)
    counted = []

    def script(n: int) -> int:
        number, FakeTime.now_ns = arrivals[n - 1][0], arrivals[n - 1][1] * MS
        return number

    cameras, _ = thread(script)
    for number, _ in arrivals:
        before = cameras.counts["late"]
        cameras.read()
        counted += [number] * (cameras.counts["late"] - before)
    assert counted == late
    assert cameras.counts["dropped"] == 2


def test_who_stamped_the_frames_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    cameras, camera = thread(lambda n: n)
    cameras.read()
    cameras.read()
    monkeypatch.setattr(camera, "read_into", lambda frame, timeout_s: Stamp(3, 3 * MS, "dequeue"))
    cameras.read()
    assert (cameras.counts["frames"], cameras.counts["stamped by device"]) == (3, 2)


@pytest.mark.parametrize("error", [Timeout("camera base: silent"), Disconnected("camera base: unplugged")])
def test_a_lost_camera_is_opened_again_with_backoff(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_thread, "BACKOFF_S", (0.01, 0.02))
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


def test_a_camera_that_hangs_as_it_is_opened_again_holds_up_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its age grows, which is the watchdog's business; the newest frame stays there for whoever looks."""
    monkeypatch.setattr(device_thread, "BACKOFF_S", (0.0,))
    monkeypatch.setattr(observation, "JOIN_S", 0.0)
    hangs, let_go = threading.Event(), threading.Event()

    def script(n: int) -> int:
        if n == 3:
            raise Disconnected("camera base: unplugged")
        return n

    cameras, camera = thread(script)
    opened = camera.open

    def open_or_hang() -> None:
        if camera.opened:
            hangs.set()
            let_go.wait(30.0)
        opened()

    monkeypatch.setattr(camera, "open", open_or_hang)
    cameras.start()
    assert hangs.wait(5.0)
    began_s = time.monotonic()
    picture = cameras.pictures.take()
    assert picture is not None
    assert picture.capture_ns == cameras.capture_ns == 2 * MS
    cameras.stop()
    assert time.monotonic() - began_s < 2.0
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


def test_nothing_is_observed_before_the_joints_were_read() -> None:
    watch, cameras, _, _ = observer(1)
    cameras[0].read()
    assert watch.observe(np.zeros(3)) == 0
