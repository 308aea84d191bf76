"""The simulated robot as its own process, through the drivers that a real robot would be driven with."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from drivers.cameras.base import CameraSettings
from drivers.cameras.sim import Device
from drivers.errors import Corrupt, Disconnected, Timeout
from drivers.motors.base import BusSettings, MotorSettings
from drivers.motors.feetech import Bus
from drivers.sim.__main__ import main
from drivers.sim.process import SimProcess
from drivers.sim.world import World
from tests.drivers.motors.contract import soon

FILES = ["arm", "camera-base.sock", "camera-wrist.sock", "sim.sock"]


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimProcess]:
    with SimProcess(tmp_path_factory.mktemp("sim"), seed=3) as process:
        yield process


@pytest.fixture
def bus(sim: SimProcess) -> Iterator[Bus]:
    motors = tuple(
        MotorSettings(name, i + 1, "sts3215", 2048, 1, (-3.0, 3.0), "hold") for i, name in enumerate(World.JOINTS)
    )
    bus = Bus(BusSettings("arm", str(sim.directory / "arm"), 1_000_000, motors))
    bus.connect(soon(5000))
    yield bus
    bus.disconnect()


@pytest.fixture
def camera(sim: SimProcess) -> Iterator[Device]:
    camera = Device(CameraSettings("wrist", str(sim.directory / "camera-wrist.sock"), 640, 480, 30.0))
    camera.open()
    yield camera
    camera.close()


def settled(bus: Bus, goal: np.ndarray) -> float:
    """Drive towards `goal` for up to three seconds: the largest error that is left."""
    for _ in range(150):
        bus.write_setpoints(goal, soon(500))
        bus.read_state(soon(500))
        error = float(np.abs(bus.state.position_rad - goal).max())
        if error < 0.05:
            break
        time.sleep(0.02)
    return error


def test_everything_is_there(sim: SimProcess) -> None:
    assert sorted(path.name for path in sim.directory.iterdir()) == FILES


def test_the_arm_moves_and_its_judge_sees_it(sim: SimProcess, bus: Bus) -> None:
    bus.enable_torque(soon())
    goal = bus.state.position_rad.copy()
    goal[0] += 0.4
    assert settled(bus, goal) < 0.05
    state = sim.ask(cmd="state")
    assert state["torque_on"] == [True] * 6
    np.testing.assert_allclose(list(state["joints"].values()), bus.state.position_rad, atol=0.02)
    assert list(state["joints"]) == list(World.JOINTS)
    bus.read_health(1, soon())
    assert bus.state.voltage_v[1] == pytest.approx(12.0)
    bus.disable_torque(soon())


def test_frames_come_at_thirty_a_second_with_the_time_they_were_taken(camera: Device) -> None:
    frame, stamps = np.zeros((480, 640, 3), np.uint8), []
    for _ in range(20):
        stamp = camera.read_into(frame, 2.0)
        assert 0 < time.monotonic_ns() - stamp.capture_ns < 1_000_000_000
        stamps.append((stamp.frame_id, stamp.capture_ns))
    ids, times = np.array(stamps).T
    assert (np.diff(ids) > 0).all()
    # A busy machine may skip frames; frame ids say so, and times agree with them.
    np.testing.assert_allclose((times[-1] - times[0]) * 1e-9, (ids[-1] - ids[0]) / 30, atol=0.03)
    assert len(np.unique(frame)) > 20, "there is something to see"


def test_reset_and_lay_make_the_layout_of_the_seed(sim: SimProcess) -> None:
    for cmd in ("reset", "lay"):
        state = sim.ask(cmd=cmd, seed=41)
        world = World(41)
        assert [cup["colour"] for cup in state["cups"]] == [cup.colour for cup in world.cups]
        assert [cup["instruction"] for cup in state["cups"]] == [
            world.instruction_for(i) for i in range(len(world.cups))
        ]
        assert (state["seed"], state["gripped"], state["lifted"]) == (41, None, False)
        assert not any(cup["success"] for cup in state["cups"])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"cmd": "fly"}', "unknown cmd 'fly'"),
        ('{"cmd": "reset"}', "seed"),
        ('{"cmd": "fault", "kind": "rust", "on": true}', "unknown fault 'rust'"),
        ('{"cmd": "fault", "kind": "drop_servo", "target": "nose", "on": true}', "no target 'nose'"),
    ],
)
def test_the_judge_answers_nonsense_with_one_line_and_lives_on(sim: SimProcess, line: str, says: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5.0)
        connection.connect(str(sim.directory / "sim.sock"))
        with connection.makefile("rw") as file:
            for request in (line, '{"cmd": "state"}'):
                file.write(request + "\n")
                file.flush()
                answer = json.loads(file.readline())
                assert says in answer["error"] if request == line else answer["faults"] == []


@pytest.mark.parametrize(
    ("kind", "target", "error", "says"),
    [
        ("silence", "", Timeout, "no motor answered in time"),
        ("corrupt", "", Corrupt, "shoulder_pan.*gripper"),
        ("corrupt", "elbow_flex", Corrupt, r"'elbow_flex' \(id 3\)"),
        ("drop_servo", "wrist_roll", Timeout, r"'wrist_roll' \(id 5\)"),
        ("supply", "", Timeout, "no motor answered in time"),
    ],
)
def test_faults_of_the_line(
    sim: SimProcess, bus: Bus, kind: str, target: str, error: type[Exception], says: str
) -> None:
    bus.enable_torque(soon())
    assert sim.ask(cmd="fault", kind=kind, target=target, on=True)["faults"] == [{"kind": kind, "target": target}]
    with pytest.raises(error, match=says):
        bus.read_state(soon(100))
    torque = {"drop_servo": [True] * 4 + [False, True], "supply": [False] * 6}.get(kind, [True] * 6)
    assert sim.ask(cmd="state")["torque_on"] == torque
    assert sim.ask(cmd="fault", kind=kind, target=target, on=False)["faults"] == []
    bus.read_state(soon())
    assert sim.ask(cmd="state")["torque_on"] == torque, "torque that was lost stays lost"
    bus.disable_torque(soon())


def read_many(camera: Device, count: int) -> None:
    frame = np.zeros((480, 640, 3), np.uint8)
    for _ in range(count):
        camera.read_into(frame, 0.5)


def test_a_frozen_camera_times_out_until_it_thaws(sim: SimProcess, camera: Device) -> None:
    frame = np.zeros((480, 640, 3), np.uint8)
    sim.ask(cmd="fault", kind="freeze_camera", target="wrist", on=True)
    with pytest.raises(Timeout):
        read_many(camera, 4)  # a frame or two may still be on their way
    sim.ask(cmd="fault", kind="freeze_camera", target="wrist", on=False)
    camera.read_into(frame, 2.0)


def test_an_unplugged_camera_is_gone_until_it_is_plugged_in(sim: SimProcess, camera: Device) -> None:
    frame = np.zeros((480, 640, 3), np.uint8)
    sim.ask(cmd="fault", kind="unplug_camera", target="wrist", on=True)
    with pytest.raises(Disconnected):
        read_many(camera, 100)
    with pytest.raises(Disconnected):
        camera.open()
    sim.ask(cmd="fault", kind="unplug_camera", target="wrist", on=False)
    for _ in range(100):
        try:
            camera.open()
            break
        except Disconnected:
            time.sleep(0.02)
    camera.read_into(frame, 2.0)


def test_a_second_simulator_in_the_same_directory_is_refused(sim: SimProcess) -> None:
    command = [sys.executable, "-m", "drivers.sim", "--dir", str(sim.directory)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (second.returncode, second.stdout) == (2, "")
    assert "another simulator runs in this directory" in second.stderr
    assert second.stderr.count("\n") == 1
    assert sim.ask(cmd="state")["seed"] >= 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_leaves_nothing_and_killed_it_can_be_started_again(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "drivers.sim", "--dir", str(tmp_path)]
    for last in (signal.SIGKILL, number):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == f"ready {tmp_path}\n"
            process.send_signal(last)
            assert process.wait(10) == (-signal.SIGKILL if last == signal.SIGKILL else 0)
        if last == signal.SIGKILL:
            assert os.path.lexists(tmp_path / "arm"), "a killed simulator cannot tidy up"
    assert list(tmp_path.iterdir()) == []


def test_a_simulator_that_cannot_start_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "setswitchinterval", lambda seconds: None)
    monkeypatch.setattr(sys, "executable", "/bin/false")  # the cameras' process dies at once
    assert main(["--dir", str(tmp_path)]) == 2
    assert "the cameras' process does not start" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_camera_that_repeats_itself_stamps_one_picture_anew(sim: SimProcess, camera: Device) -> None:
    frame, again = (np.zeros((480, 640, 3), np.uint8) for _ in range(2))
    sim.ask(cmd="fault", kind="repeat_camera", target="wrist", on=True)
    for _ in range(4):
        first = camera.read_into(frame, 2.0)  # a frame or two may still be on their way
    sim.ask(cmd="hand", joints={"shoulder_pan": 1.0})
    for _ in range(3):
        last = camera.read_into(again, 2.0)
    assert last.capture_ns > first.capture_ns
    assert (again == frame).all()
    sim.ask(cmd="fault", kind="repeat_camera", target="wrist", on=False)
    read_many(camera, 4)
    camera.read_into(again, 2.0)
    assert (again != frame).any()
    sim.ask(cmd="hand", joints={})


def test_a_port_that_is_unplugged_is_gone_until_it_is_plugged_in_and_servos_keep_what_they_were_told(
    sim: SimProcess, bus: Bus
) -> None:
    bus.enable_torque(soon())
    sim.ask(cmd="fault", kind="unplug_port", on=True)
    with pytest.raises(Disconnected):
        bus.read_state(soon())
    with pytest.raises(Disconnected):
        bus.connect(soon())
    assert sim.ask(cmd="state")["torque_on"] == [True] * 6
    sim.ask(cmd="fault", kind="unplug_port", on=False)
    bus.connect(soon())
    bus.read_state(soon())
    bus.disable_torque(soon())
