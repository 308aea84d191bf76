"""The simulated camera's driver against its socket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drivers.cameras.base import CameraSettings
from drivers.cameras.sim import Device
from drivers.errors import Disconnected, DriverError, ProtocolError, Timeout
from drivers.sim.camera_server import CameraServer
from drivers.sim.frames import ASK, HEADER_SIZE, Header
from tests.drivers.cameras.contract import CameraContract, Rig


class SimRig(Rig):
    def __init__(self, folder: Path) -> None:
        self.path = folder / "camera-base.sock"
        self.server = CameraServer(self.path)
        self.camera = Device(CameraSettings("base", str(self.path), 640, 480, 30.0))
        self._filmed = 0

    def film(self, value: int) -> None:
        self._filmed += 1
        self.server.publish(self._filmed, time.monotonic_ns(), np.full((480, 640, 3), value, np.uint8))

    def unplug(self) -> None:
        self.server.unplug()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[SimRig]:
    rig = SimRig(tmp_path)
    yield rig
    rig.camera.close()
    rig.unplug()


class TestContract(CameraContract):
    pass


def test_a_camera_that_is_not_there(tmp_path: Path) -> None:
    camera = Device(CameraSettings("base", str(tmp_path / "none.sock"), 640, 480, 30.0))
    with pytest.raises(Disconnected, match=r"camera base: .*none.sock: No such file.*simulator run"):
        camera.open()


@pytest.mark.parametrize("wrong", [{"width": 320}, {"height": 640}, {"fps": 60.0}])
def test_another_mode_than_asked_for_is_refused(rig: SimRig, wrong: dict[str, float]) -> None:
    camera = Device(replace(rig.camera.settings, **wrong))  # type: ignore[arg-type]
    with pytest.raises(Disconnected, match=r"it delivers 640x480 at 30 frames/s, not .*correct width, height and fps"):
        camera.open()


def test_a_buffer_of_another_size_is_refused(rig: SimRig) -> None:
    rig.camera.open()
    with pytest.raises(DriverError, match="does not fit"):
        rig.camera.read_into(np.zeros((480, 640, 4), np.uint8), 0.1)


def test_something_else_behind_the_socket(tmp_path: Path) -> None:
    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request, sorry, good bye")

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "other"))
        listener.listen()
        talk = threading.Thread(target=answer)
        talk.start()
        with pytest.raises(ProtocolError, match="release"):
            Device(CameraSettings("base", str(tmp_path / "other"), 640, 480, 30.0)).open()
        talk.join()


def test_a_frame_that_stalls_half_way_is_dropped_and_the_next_one_is_whole(tmp_path: Path) -> None:
    halves: list[bytes] = []
    go_on = threading.Event()

    def frame(frame_id: int, value: int) -> bytes:
        return Header(640, 480, 30.0, frame_id, frame_id).pack() + bytes([value]) * (640 * 480 * 3)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(Header(640, 480, 30.0).pack())
            assert connection.recv(1) == ASK
            connection.sendall(frame(1, 11)[:100_000])
            go_on.wait(5.0)
            connection.sendall(frame(1, 11)[100_000:])
            assert connection.recv(1) == ASK
            connection.sendall(frame(2, 22))
            halves.append(connection.recv(1))

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "slow"))
        listener.listen()
        server = threading.Thread(target=serve)
        server.start()
        camera = Device(CameraSettings("base", str(tmp_path / "slow"), 640, 480, 30.0))
        camera.open()
        with pytest.raises(Timeout):
            camera.read_into(np.zeros((480, 640, 3), np.uint8), 0.05)
        go_on.set()
        other = np.zeros((480, 640, 3), np.uint8)
        assert camera.read_into(other, 5.0).frame_id == 2
        assert np.unique(other).tolist() == [22], "no part of the frame whose beginning went elsewhere"
        camera.close()
        server.join(5.0)
        assert halves == [b""], "nothing was asked for twice"


def test_two_clients_each_get_every_frame(rig: SimRig) -> None:
    others = [Device(rig.camera.settings) for _ in range(2)]
    for camera in others:
        camera.open()
    rig.film(77)
    for camera in others:
        frame = rig.buffer()
        assert camera.read_into(frame, 2.0).frame_id == 1
        assert frame.min() == frame.max() == 77
        camera.close()


def test_plugged_in_again_it_can_be_opened_again(rig: SimRig) -> None:
    rig.camera.open()
    rig.unplug()
    rig.server.plug()
    with pytest.raises(Disconnected):
        rig.camera.read_into(rig.buffer(), 0.5)
    rig.camera.open()
    rig.film(3)
    frame = rig.buffer()
    rig.camera.read_into(frame, 2.0)
    assert frame.min() == 3


def test_header_round_trip() -> None:
    header = Header(640, 480, 30.0, 12345678901, 2**63)
    assert len(header.pack()) == HEADER_SIZE
    assert Header.unpack(header.pack()) == header
