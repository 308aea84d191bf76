"""Motors, cameras, calibration, a robot that runs: what the doctor says of each."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from drivers.errors import Disconnected, Overload, Timeout
from edge_runtime import calibration_files, config
from edge_runtime.clock import MonotonicClock
from edge_runtime.devices import bus_settings
from edge_runtime.doctor import calibration, cameras, disk, motors, running
from edge_runtime.doctor.check import Check
from edge_runtime.look import Look
from tests.edge_runtime.fakes import FakeBus, robot

# ── motors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Servos(FakeBus):
    """Six servos, the second of which may be too warm or report a fault."""

    warm_c = 31.0
    fault = ""

    def read_health(self, index: int, deadline_ns: int) -> None:
        super().read_health(index, deadline_ns)
        self.state.voltage_v[index], self.state.temperature_c[index] = 12.1, 30.0
        if index == 1:
            self.state.temperature_c[index] = self.warm_c
            if self.fault:
                raise Overload(self.fault)


@pytest.fixture
def servos(monkeypatch: pytest.MonkeyPatch) -> Servos:
    made = Servos(bus_settings(robot().buses[0]), MonotonicClock())
    monkeypatch.setattr(motors, "make_bus", lambda bus: made)
    return made


def looked(servos: Servos) -> dict[str, Check]:
    return {check.name: check for check in motors.check(robot(), robot().buses[0])}


def test_every_motor_has_a_line_and_torque_is_not_touched(servos: Servos) -> None:
    servos.notes.append("return delay of id 3 is 500 µs: set it to 0")
    found = looked(servos)
    first, bus = robot().joints[0], robot().buses[0].name
    assert found[f"{first.name} (id {first.id})"] == Check(
        f"{first.name} (id {first.id})", "ok", f"{first.model}, 12.1 V, 30.0 °C"
    )
    assert found[f"motors {bus}"] == Check(f"motors {bus}", "warn", servos.notes[0])
    assert found[f"answers {bus}"].level in ("ok", "warn")
    assert not {"enable_torque", "disable_torque", "write_setpoints", "safe_action", "center"} & set(servos.calls)
    assert servos.calls[-1] == "disconnect"


def test_a_warm_motor_and_one_with_a_fault(servos: Servos) -> None:
    second = f"{robot().joints[1].name} (id {robot().joints[1].id})"
    servos.warm_c = 64.0
    assert looked(servos)[second].level == "warn"
    servos.fault = "joint 'b' (id 2) reports overload: switch its supply off and on"
    assert looked(servos)[second] == Check(second, "bad", servos.fault)


def test_no_more_of_the_time_is_the_line_than_there_was(servos: Servos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Servos, "read_wire_s", 0.5)
    measured = re.search(
        r"read in ([\d.]+) ms, at most ([\d.]+) ms of it the line", looked(servos)["answers arm"].found
    )
    assert measured is not None
    assert measured[1] == measured[2]


def test_a_bus_that_does_not_answer(servos: Servos) -> None:
    servos.trouble["connect"] = Disconnected("bus arm on /dev/x: permission denied: add this user to the port's group")
    (only,) = looked(servos).values()
    assert only.level == "bad"
    assert only.found.endswith("add this user to the port's group")
    servos.trouble = {"read_state": Timeout("bus arm: no motor answers: is their supply on?")}

    def connect(deadline_ns: int) -> None:
        servos.calls.append("connect")

    servos.connect = connect  # type: ignore[method-assign]
    *_, last = looked(servos).values()
    assert (last.level, last.found) == ("bad", "bus arm: no motor answers: is their supply on?")
    assert servos.calls[-1] == "disconnect"


def test_answers_are_held_to_what_the_loop_allows(servos: Servos) -> None:
    servos.takes_ns["read_state"] = 300_000
    assert motors.answer_time(servos, 0.1).level == "bad"
    found = motors.answer_time(servos, 1e6)
    assert found.level == "ok"
    assert "1e+06 ms allowed" in found.found
    assert motors.share_ms(robot()) <= robot().deadlines.serial_ms / 2


# ── cameras ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def seen(frames: int, **counts: int) -> Look:
    """A second of a camera that was to give 30 frames."""
    camera = msgspec.structs.replace(robot().cameras[0], fps=30.0)
    stamps = np.linspace(1, 1_000_000_001, frames).astype(int).tolist()
    return Look(camera, counts={"frames": frames - 1, "stamped by device": frames - 1, **counts}, captured_ns=stamps)


@pytest.mark.parametrize(
    ("look", "level", "says"),
    [
        (seen(31), "ok", "30.0 frames a second, stamped by itself"),
        (seen(28), "warn", "27.0 frames a second"),
        (seen(31, dropped=2), "warn", "2 dropped"),
        (seen(16), "bad", "15.0 frames a second"),
        (Look(robot().cameras[0], "camera base: /dev/video0 does not exist: plug it in"), "bad", "does not exist"),
    ],
)
def test_a_camera(look: Look, level: str, says: str) -> None:
    found = cameras.judge(look)
    assert (found.name, found.level) == ("camera base", level)
    assert says in found.found


# ── calibration ─────────────────────────────────────────────────────────────────────────────────────────────────────


def calibrated(folder: Path, date: str) -> config.Robot:
    path = calibration_files.latency_file(folder, "base")
    late = calibration_files.LatencyCalibration(
        format=1,
        date=date,
        tool="edge-runtime 0.1.0",
        camera="base",
        device="",
        joint="a",
        camera_delay_ms=1.0,
        camera_spread_ms=1.0,
        actuator_delay_ms=1.0,
        actuator_spread_ms=1.0,
        correlation=1.0,
        frames=9,
    )
    calibration_files.write(path, late)
    return msgspec.structs.replace(robot(), calibration=str(folder))


@pytest.mark.parametrize(
    ("date", "level", "says"),
    [
        ("", "ok", "measured 0 days ago"),
        ("2020-01-01T00:00:00Z", "warn", "days ago"),
        ("2199-01-01T00:00:00Z", "warn", "which is to come"),
    ],
)
def test_how_old_a_calibration_is(tmp_path: Path, date: str, level: str, says: str) -> None:
    joints, late = calibration.check(calibrated(tmp_path, date or calibration_files.now()))
    assert (joints.level, joints.found) == ("unknown", "not measured")
    assert (late.name, late.level) == ("latency base", level)
    assert says in late.found


def test_no_calibration_and_a_damaged_one(tmp_path: Path) -> None:
    (only,) = calibration.check(robot())
    assert only.level == "unknown"
    settings = calibrated(tmp_path, calibration_files.now())
    calibration_files.latency_file(tmp_path, "base").write_text("{")
    *_, late = calibration.check(settings)
    assert late.level == "bad"


def test_a_date_that_never_was_is_one_line(tmp_path: Path) -> None:
    settings = calibrated(tmp_path, calibration_files.now())
    file = calibration_files.latency_file(tmp_path, "base")
    file.write_text(re.sub(r"\d+-\d+-\d+T\d+:\d+:\d+Z", "2026-13-99T99:99:99Z", file.read_text()))
    *_, late = calibration.check(settings)
    assert late.level == "bad"
    assert "there is no such time" in late.found


def test_another_camera_than_the_one_that_was_calibrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = calibrated(tmp_path, calibration_files.now())
    monkeypatch.setattr(cameras, "look", lambda named, seconds: [Look(named[0]), Look(named[1], "is not there")])
    base, known, wrist = cameras.check(settings)
    assert (base.name, known.name, known.level, wrist.level) == ("camera base", "calibrated base", "bad", "bad")
    assert f"{calibration_files.latency_file(tmp_path, 'base')} belongs to another camera" in known.found
    monkeypatch.setattr(calibration.calibrated, "camera_identity", lambda one: "")
    _, known, _ = cameras.check(settings)
    assert known == Check("calibrated base", "ok", "this is the camera that was calibrated")
    assert calibration.camera(robot(), robot().cameras[0]) is None


# ── a robot that runs, and the disk ─────────────────────────────────────────────────────────────────────────────────


def test_a_running_robot_is_a_warning_and_its_own_figures_are_shown(tmp_path: Path) -> None:
    joints = {"a": {"voltage_v": 12.0, "temperature_c": 31.0, "current_a": 0.5, "measured_rad": 1.0}, "b": {}}
    found = list(running.check({"state": "RUN", "ticks": 100, "missed": 2, "joints": joints}))
    assert [check.level for check in found] == ["warn", "warn", "ok", "unknown"]
    assert found[2].found == "12 V, 31 °C, 0.5 A"
    (only,) = running.check({"error": "the robot did not answer within 3 s"})
    assert only.level == "warn"
    socket = msgspec.structs.replace(robot().control, socket=str(tmp_path / "none.sock"))
    assert running.status(msgspec.structs.replace(robot(), control=socket)) is None


def test_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (missing,) = disk.check(None, tmp_path / "none")
    assert (missing.level, missing.remedy) == ("bad", "start from a folder of your own")
    for little, full, level in ((0, 0, "ok"), (1e9, 0, "warn"), (1e9, 1e9, "bad")):
        monkeypatch.setattr(disk, "LITTLE_GB", little)
        monkeypatch.setattr(disk, "FULL_GB", full)
        found, *_ = disk.check(robot(), tmp_path)
        assert found.level == level
        assert "h of recording" in found.found


def test_how_much_is_free_where_the_socket_is_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "FULL_GB", 1e9)
    socket = msgspec.structs.replace(robot().control, socket=str(tmp_path / "control.sock"))
    _, found = disk.check(msgspec.structs.replace(robot(), control=socket), tmp_path)
    assert found == Check("control socket", "ok", f"{tmp_path}: may be written")
