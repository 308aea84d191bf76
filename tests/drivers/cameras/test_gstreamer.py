"""GStreamer's cameras: the driver against a stand-in for `gst-launch-1.0`, and against the real one where it is."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from drivers.cameras import gstreamer
from drivers.cameras.base import CameraSettings
from drivers.cameras.gstreamer import Device
from drivers.errors import Disconnected, DriverError, Timeout
from drivers.gst_launch import LAUNCH
from tests.drivers.cameras.contract import CameraContract, Rig

ROOT = Path(__file__).resolve().parents[3]
WIDTH, HEIGHT = 64, 48  # more than the smallest pipe holds


def settings(device: str = "pipeline: fakesrc", width: int = WIDTH, height: int = HEIGHT) -> CameraSettings:
    return CameraSettings("base", device, width, height, 30.0)


class FakeRig(Rig):
    """The stand-in's world: a socket that its process connects to."""

    def __init__(self, path: Path) -> None:
        self.camera = Device(settings())
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._world: socket.socket | None = None

    def film(self, value: int) -> None:
        self._connect().sendall(bytes([ord("f"), value]))
        assert self._connect().recv(1) == b"."

    def unplug(self) -> None:
        self._path.unlink()
        self._connect().sendall(b"e")

    def close(self) -> None:
        self.camera.close()
        self._listener.close()
        if self._world is not None:
            self._world.close()

    @property
    def child(self) -> subprocess.Popen[bytes]:
        child = self.camera._child  # type: ignore[attr-defined]
        assert child is not None
        return child

    def _connect(self) -> socket.socket:
        """The newest of the processes that have come."""
        self._listener.setblocking(self._world is None)
        try:
            while True:
                world, _ = self._listener.accept()
                if self._world is not None:
                    self._world.close()
                self._world = world
                self._listener.setblocking(False)
        except BlockingIOError:
            pass
        assert self._world is not None
        self._world.setblocking(True)
        return self._world


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in first on PATH; returns where its world is to listen."""
    script = tmp_path / "bin" / LAUNCH
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {Path(__file__).with_name("fake_gst.py")} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_GST", str(tmp_path / "world"))
    monkeypatch.setattr(gstreamer, "FOLLOWS_S", 0.2)  # a busy machine takes its time to fill the pipe again
    return tmp_path / "world"


@pytest.fixture
def rig(fake: Path) -> Iterator[FakeRig]:
    rig = FakeRig(fake)
    yield rig
    rig.close()


class TestContract(CameraContract):
    pass


def test_a_password_is_never_said(fake: Path) -> None:
    with pytest.raises(Disconnected) as caught:
        Device(settings("rtsp://eye:secret@host/live")).open()
    assert "rtsp://eye:***@host/live: the pipeline has ended: Cannot identify device." in str(caught.value)
    assert "secret" not in str(caught.value)
    with pytest.raises(DriverError) as refused:
        Device(settings("http://eye:secret@host/live"))
    assert "secret" not in str(refused.value)


def test_without_gstreamer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Disconnected, match=r"there is no gst-launch-1\.0 on this machine: apt install gstreamer1\.0"):
        Device(settings()).open()


def test_the_end_of_a_pipeline_in_its_own_words(rig: FakeRig) -> None:
    rig.camera.open()
    rig.unplug()
    with pytest.raises(Disconnected) as caught:
        rig.camera.read_into(rig.buffer(), 2.0)
    assert str(caught.value) == (
        "camera base: pipeline: fakesrc: the pipeline has ended: "
        "Cannot identify device. system error: No such file or directory"
    )


def test_no_first_frame(rig: FakeRig, fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = fake.parent / "bin" / LAUNCH
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(gstreamer, "OPEN_S", 0.1)
    with pytest.raises(Disconnected, match=r"camera base: pipeline: fakesrc: no frame within 0\.1 s"):
        rig.camera.open()
    assert rig.camera._child is None  # type: ignore[attr-defined]


def test_a_frame_that_stalls_half_way_is_dropped_and_the_next_one_is_whole(
    fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its beginning is in the buffer of the call that gave up."""
    size = WIDTH * HEIGHT * 3
    (fake.parent / "bin" / LAUNCH).write_text(
        f"#!/bin/sh\nexec {sys.executable} -S -E -c '\n"
        "import os, re, sys, time\n"
        'fd = int(re.search(r"fd=([0-9]+)", " ".join(sys.argv))[1])\n'
        f"def put(data):\n    while data:\n        data = data[os.write(fd, data):]\n"
        f"put(bytes([1]) * {size} + bytes([2]) * {size // 2})\n"
        f"time.sleep(0.5)\n"
        f"put(bytes([2]) * {size - size // 2} + bytes([3]) * {size})\n"
        'time.sleep(60)\n\' "$@"\n'
    )
    camera, first, second = Device(settings()), np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((48, 64, 3), np.uint8)
    camera.open()
    with pytest.raises(Timeout):
        camera.read_into(first, 0.1)
    assert camera.read_into(second, 5.0).frame_id == 2
    assert np.unique(second).tolist() == [3]
    camera.close()


def test_a_frame_that_waited_is_stamped_no_later_than_it_came(rig: FakeRig) -> None:
    rig.camera.open()
    rig.film(1)
    filmed_ns = time.monotonic_ns()
    time.sleep(0.05)
    stamp = rig.camera.read_into(rig.buffer(), 2.0)
    assert stamp.source == "dequeue"
    assert stamp.capture_ns <= filmed_ns


def test_a_buffer_of_another_size_is_refused(rig: FakeRig) -> None:
    rig.camera.open()
    with pytest.raises(DriverError, match="does not fit"):
        rig.camera.read_into(np.zeros((HEIGHT, WIDTH, 4), np.uint8), 0.1)


def test_a_pipeline_that_does_not_end_is_killed_and_no_zombie_stays(
    rig: FakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gstreamer, "CLOSE_S", 0.1)
    rig.camera.open()
    child = rig.child
    child.send_signal(signal.SIGSTOP)  # deaf to everything but SIGKILL
    rig.camera.close()
    assert child.returncode == -signal.SIGKILL, "waited for"
    assert not Path(f"/proc/{child.pid}").exists()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv (util-linux) on this machine")
def test_a_pipeline_dies_with_the_process_even_if_that_is_killed(rig: FakeRig) -> None:
    """One without frames would never notice that nobody reads its pipe."""
    code = (
        "import time; from tests.drivers.cameras.test_gstreamer import Device, settings\n"
        "camera = Device(settings()); camera.open(); print(camera._child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = Path("/proc") / process.stdout.readline().strip()
        assert child.exists()
        process.kill()
    end_s = time.monotonic() + 5.0
    while child.exists() and (child / "stat").read_text().split()[2] != "Z":
        assert time.monotonic() < end_s, "it lives on"
        time.sleep(0.01)


@pytest.mark.skipif(
    shutil.which(LAUNCH) is None, reason=f"no {LAUNCH} on this machine (apt install gstreamer1.0-tools)"
)
class TestReal:
    """The system's own GStreamer with a test picture: red is red, frames are whole, a wrong size is one line."""

    SOURCE = "pipeline: videotestsrc is-live=true pattern=red ! video/x-raw,width=64,height=48,framerate=30/1"

    def test_frames(self) -> None:
        camera, frame = Device(settings(self.SOURCE)), np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        camera.open()
        try:
            stamps = [camera.read_into(frame, 5.0) for _ in range(5)]
        finally:
            camera.close()
        assert all(frame.reshape(-1, 3).mean(axis=0).round() == (255, 0, 0))
        assert np.all(np.diff([stamp.capture_ns for stamp in stamps]) > 0)

    def test_another_size_than_asked_for(self) -> None:
        with pytest.raises(Disconnected, match=r"the pipeline has ended: .*: are its pictures 32x48\?$") as caught:
            Device(settings(self.SOURCE, width=32)).open()
        assert "\n" not in str(caught.value)

    def test_an_element_that_is_not_there(self) -> None:
        with pytest.raises(Disconnected, match='no element "nosuchsrc": install what brings it'):
            Device(settings("pipeline: nosuchsrc")).open()
