"""The whole process, as the kernel and a person see it: signals, control socket, exit codes, what the bus was told."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.errors import DriverError
from edge_runtime import app
from edge_runtime.clock import MonotonicClock
from edge_runtime.config import Motion
from edge_runtime.devices import bus_settings, camera_settings
from edge_runtime.errors import BundleError, CommandError, DeviceLost, EdgeError, InferenceHung, InstructionError
from edge_runtime.record import RunRecord
from tests.edge_runtime.calibrations import LATENCY, keep
from tests.edge_runtime.fakes import FakeBus, FakeCamera, FakePolicy, spec
from tests.edge_runtime.process import Process
from tests.edge_runtime.run_fake import configured


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    made: list[Process] = []

    def begin(*arguments: str) -> Process:
        made.append(Process(tmp_path, *arguments))
        return made[-1]

    yield begin
    for each in made:
        each.kill()


def test_an_evening_with_a_robot(start: Any) -> None:
    robot = start()
    status = robot.until("DISARMED")
    assert status["allowed"] == ["arm", "disarm", "stop", "reset", "estop"]
    assert status["torque"] == "not taken by this run"
    with pytest.raises(CommandError, match=r"cannot task in DISARMED: allowed now: arm, disarm, stop, reset, estop"):
        robot.say("task", instruction="reach the red cup")
    assert robot.say("arm")["phase"] == "to_start"
    robot.until("READY")
    with pytest.raises(CommandError, match="there is no command tusk, did you mean"):
        robot.say("tusk")
    with pytest.raises(CommandError, match="a task needs an instruction"):
        robot.say("task", instruction="  ")
    with pytest.raises(CommandError, match="say it in fewer words"):
        robot.say("task", instruction="word " * 200)
    robot.say("task", instruction="reach the red cup")
    status = robot.until("RUN", "task")
    time.sleep(0.3)
    status = robot.say("status")
    assert status["instruction"] == "reach the red cup"
    assert status["torque"] == "taken by this run"
    assert status["counters"]["malformed action tokens"] == 0
    assert 0 < status["age_ms"]["chunk"] < 2_000
    assert 0 <= status["age_ms"]["frame wrist"] < 2_000
    assert status["joints"]["gripper"].keys() == {
        *("setpoint_rad", "measured_rad", "current_a", "temperature_c", "voltage_v")
    }
    assert robot.say("stop")["state"] == "HOLD"
    time.sleep(0.5)
    assert robot.say("resume")["state"] == "RUN"
    assert robot.say("done")["phase"] == "park"
    robot.until("READY")
    robot.process.send_signal(signal.SIGTERM)
    assert robot.wait() == 0
    record = robot.record
    assert record["ticks"] == record["kept"] > 100
    assert record["chunks"] == record["inferences"] > 3
    assert (record["episodes"], record["successes"]) == (1, 1)
    assert sum(record["states"].values()) > 1.0
    assert all(0 < age <= 2_000 for age in record["sensor_age_ms"])
    assert any("RUN (task): begin" in event for event in record["events"])
    assert "task: reach the red cup" in record["events"]
    assert record["machine"]["realtime"]
    assert record["counters"]["camera base frames"] > 10
    assert robot.calls == ["connect", "enable_torque", "safe_action"]
    assert not (robot.folder / "control.sock").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_arm_before_the_safe_action(start: Any, number: int) -> None:
    robot = start()
    robot.until("DISARMED")
    robot.say("arm")
    robot.until("READY")
    robot.say("task", instruction="x")
    robot.until("RUN", "task")
    time.sleep(0.4)
    moving = np.abs(np.diff(robot.emitted()[-20:], axis=0)).max()
    for _ in range(3):  # the second and third are no different
        robot.process.send_signal(number)
        time.sleep(0.01)
    assert robot.wait() == 0, robot.errors
    assert robot.calls == ["connect", "enable_torque", "safe_action"]
    assert moving > 1e-3
    speed = np.abs(np.diff(robot.emitted()[-6:], axis=0)).max(axis=1)
    assert (np.diff(speed) <= 1e-4).all()  # slower with every tick, but for what a late one leaves to the next,
    assert speed[-1] < 0.1 * speed[0]  # and at rest in the end


def test_autostart_arms_and_begins_without_a_person(start: Any, tmp_path: Path) -> None:
    (tmp_path / "autostart").touch()
    robot = start()
    assert robot.until("RUN", "task")["instruction"] == "begin at once"
    robot.process.send_signal(signal.SIGTERM)
    assert robot.wait() == 0, robot.errors
    assert robot.record["episodes"] == 1


def test_a_bug_on_the_control_path_does_the_safe_action_and_exits_non_zero(start: Any) -> None:
    robot = start("-", "raise")
    robot.until("DISARMED")
    robot.say("arm")
    assert robot.wait() == 1
    assert robot.calls == ["connect", "enable_torque", "safe_action"]
    assert "ZeroDivisionError: a bug on the control path" in robot.errors


def test_a_stuck_control_thread_is_ended_by_the_kernel(start: Any) -> None:
    robot = start("-", "spin")
    robot.until("DISARMED")
    robot.say("arm")
    assert robot.wait() == -signal.SIGALRM
    assert robot.calls == ["connect", "enable_torque"]  # what is left to do is `edge safe-stop`'s


def test_after_kill_9_a_new_process_takes_the_socket(start: Any) -> None:
    robot = start()
    robot.until("DISARMED")
    os.kill(robot.process.pid, signal.SIGKILL)
    robot.wait()
    assert (robot.folder / "control.sock").exists()
    again = start("0.3")
    assert again.wait() == 0
    assert again.record["ticks"] == pytest.approx(30, abs=3)


# ── what is refused before anything moves ───────────────────────────────────────────────────────────────────────────


class Parts:
    """What `run_robot` is given; a test breaks one of it."""

    def __init__(self, folder: Path) -> None:
        self.robot = configured(folder)
        self.policy = FakePolicy(spec(self.robot.joint_names))
        self.bus = FakeBus(bus_settings(self.robot.buses[0]), MonotonicClock())
        self.cameras = [FakeCamera(camera_settings(c), self._frame) for c in self.robot.cameras]

    @staticmethod
    def _frame(number: int) -> int:
        time.sleep(0.005)
        return number

    def run(self) -> None:
        app.run_robot(self.robot, seconds=0.1, policy=self.policy, cameras=self.cameras, buses=[self.bus])


def refused(parts: Parts, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        parts.run()
    assert "\n" not in str(caught.value)
    assert {"enable_torque", "write_setpoints", "safe_action"}.isdisjoint(parts.bus.calls)
    assert not any(camera.is_open for camera in parts.cameras)
    assert not Path(parts.robot.control.socket).exists()


def test_a_policy_of_another_robot(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    parts.policy = FakePolicy(spec(parts.robot.joint_names[:4]))
    refused(parts, BundleError, "state of 4 dimensions")
    assert "connect" not in parts.bus.calls


def test_a_bus_that_does_not_answer(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    parts.bus.fail(DriverError("bus arm: no motor answers"), "connect")
    refused(parts, DriverError, "no motor answers")


def test_what_a_bus_has_to_say_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = Parts(tmp_path)
    parts.bus.notes.append("bus arm: joint 'lift' (id 2) waits 500 µs before each answer")
    with caplog.at_level("INFO", "edge_runtime"):
        parts.run()
    assert [record.getMessage() for record in caplog.records].count(parts.bus.notes[0]) == 1


def test_a_camera_that_is_not_there(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    parts.cameras[1].open_errors.append(DriverError("camera wrist: no such device"))
    refused(parts, DriverError, "no such device")


def test_a_camera_that_never_gives_a_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "FIRST_FRAME_S", 0.1)
    parts = Parts(tmp_path)

    def silent(number: int) -> int:
        time.sleep(0.01)
        raise DriverError("camera base: silent")

    parts.cameras[0] = FakeCamera(camera_settings(parts.robot.cameras[0]), silent)
    refused(parts, DriverError, "camera base: no frame within 0.1 s")


def test_an_instruction_that_is_too_long(tmp_path: Path) -> None:
    import msgspec

    parts = Parts(tmp_path)
    policy = msgspec.structs.replace(parts.robot.policy, instruction="word " * 200)
    parts.robot = msgspec.structs.replace(parts.robot, policy=policy)
    refused(parts, InstructionError, "say it in fewer words")


def test_a_run_that_fails_leaves_its_record_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(loop: app.ControlLoop) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(app.ControlLoop, "_judge", bug)
    parts = Parts(tmp_path)
    kept: list[RunRecord] = []
    with pytest.raises(ZeroDivisionError):
        app.run_robot(
            parts.robot, seconds=5, policy=parts.policy, cameras=parts.cameras, buses=[parts.bus], rescue=kept.append
        )
    assert [event.name for record in kept for event in record.events][-2:] == ["control failed", "black box"]


def test_a_record_that_cannot_be_kept_does_not_hide_why_the_run_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.ControlLoop, "run", lambda loop, seconds: setattr(loop, "hung", "in flight for a day"))
    parts = Parts(tmp_path)

    def full(_record: RunRecord) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(InferenceHung, match="in flight for a day: it hangs, so the process ends: "):
        app.run_robot(parts.robot, policy=parts.policy, cameras=parts.cameras, buses=[parts.bus], rescue=full)


@pytest.mark.parametrize("fails", ["companion", "port"])
@pytest.mark.parametrize("why", ["hung", "lost"])
def test_what_fails_as_all_is_taken_apart_does_not_hide_why_the_process_must_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, why: str
) -> None:
    parts = Parts(tmp_path)
    kept: list[RunRecord] = []

    def run(loop: app.ControlLoop, seconds: float | None) -> None:
        setattr(loop if why == "hung" else loop._link, why, "in flight for a day")

    def beside(_session: app.Session, over: threading.Event) -> None:
        over.wait()
        if fails == "companion":
            raise OSError(28, "No space left on device")

    def disconnect() -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(app.ControlLoop, "run", run)
    if fails == "port":
        monkeypatch.setattr(parts.bus, "disconnect", disconnect)
    with pytest.raises(InferenceHung if why == "hung" else DeviceLost, match=r"^\[Errno .*; in flight for a day"):
        app.run_robot(
            parts.robot,
            policy=parts.policy,
            cameras=parts.cameras,
            buses=[parts.bus],
            beside=beside,
            rescue=kept.append,
        )
    assert len(kept) == 1
    assert not any(camera.is_open for camera in parts.cameras)


def test_a_port_that_fails_after_the_warm_up_has_lost_its_device_does_not_hide_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(tmp_path)

    def lost(*_: object) -> None:
        raise DeviceLost("illegal address")

    def disconnect() -> None:
        raise OSError(5, "Input/output error")

    parts.policy.act = lost
    monkeypatch.setattr(parts.bus, "disconnect", disconnect)
    with pytest.raises(DeviceLost, match="illegal address"):
        parts.run()


def test_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    with pytest.raises(EdgeError, match="no such bundle"):
        app.run_robot(parts.robot, cameras=parts.cameras, buses=[parts.bus])
    assert parts.bus.calls == []


def test_the_policy_is_opened_as_robot_toml_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import msgspec

    def refuse(*asked: object, **more: object) -> None:
        raise BundleError(repr((*asked, *more.values())))

    monkeypatch.setattr("edge_runtime.policy.open_bundle", lambda path: path.name)
    monkeypatch.setattr("edge_runtime.policy.open_backend", lambda *asked: asked)
    monkeypatch.setattr("edge_runtime.policy.runner", refuse)
    parts = Parts(tmp_path)
    changed = {"threads": 2, "flow_steps": 3, "seed": 4, "on_malformed": "pad", "prefix_every": 5}
    policy, motion = msgspec.structs.replace(parts.robot.policy, **changed), Motion(seam="guided")
    robot = msgspec.structs.replace(parts.robot, policy=policy, motion=motion)
    with pytest.raises(BundleError, match=r"'ort', 2\), 3, 4, 'pad', 'guided', 5\)$"):
        app.run_robot(robot, cameras=parts.cameras, buses=[parts.bus])


def test_a_cameras_measured_delay_is_taken_off_its_frames(tmp_path: Path) -> None:
    import msgspec

    parts = Parts(tmp_path)
    late = msgspec.structs.replace(LATENCY, device=parts.robot.cameras[1].kind, camera_delay_ms=46.0)
    parts.robot = msgspec.structs.replace(parts.robot, calibration=str(keep(tmp_path, late)))
    seen: dict[str, int] = {}

    def look(session: app.Session, over: threading.Event) -> None:
        for camera in session.cameras:
            camera.stop()
            seen[camera.name] = camera.capture_ns

    app.run_robot(parts.robot, seconds=5, policy=parts.policy, cameras=parts.cameras, buses=[parts.bus], beside=look)
    stamps = {camera.settings.name: camera.reads * 1_000_000 for camera in parts.cameras}
    assert stamps["base"] - seen["base"] == 0
    assert stamps["wrist"] - seen["wrist"] == 46_000_000
