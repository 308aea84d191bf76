"""The Feetech bus against simulated servos over a real pseudo-terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drivers import feetech_packets as packets
from drivers import feetech_sts as sts
from drivers.errors import Corrupt, Disconnected, DriverError, Overload, ProtocolError, Timeout
from drivers.motors.base import BusSettings
from drivers.motors.feetech import Bus
from tests.drivers.motors.contract import MotorBusContract, motors, soon
from tests.drivers.motors.feetech_rig import FeetechRig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[FeetechRig]:
    rig = FeetechRig(tmp_path)
    yield rig
    rig.close()


class TestContract(MotorBusContract):
    STEP_RAD = sts.RAD_PER_STEP


def test_one_cycle_is_two_packets_of_the_documented_bytes(rig: FeetechRig) -> None:
    rig.bus.connect(soon())
    rig.heard.clear()
    rig.bus.write_setpoints(np.array([0.0, 1.0, -1.0, 0.5, -0.5, 2.0]), soon())
    rig.bus.read_state(soon())
    steps = [2048, 2700, 1396, 2374, 1722, 3352]  # 2048 + angle · 4096 / 2π, rounded
    rows = {i + 1: step.to_bytes(2, "little") for i, step in enumerate(steps)}
    expected = packets.sync_write(rows, 0x2A, 2) + packets.sync_read(range(1, 7), 0x38, 4)
    assert b"".join(rig.heard) == expected
    assert len(expected) == 26 + 14


def test_zero_and_direction_map_both_ways(tmp_path: Path) -> None:
    settings = [replace(m, zero_step=2100, direction=-1, range_rad=(-1.0, 1.0)) for m in motors("sts3215")]
    rig = FeetechRig(tmp_path, tuple(settings))
    try:
        rig.bus.connect(soon())
        rig.joints.position_rad[:] = 0.2
        rig.joints.velocity_rad_s[:] = 0.7
        rig.bus.read_state(soon())
        offset = (2100 - 2048) * sts.RAD_PER_STEP
        np.testing.assert_allclose(rig.bus.state.position_rad, offset - 0.2, atol=sts.RAD_PER_STEP)
        np.testing.assert_allclose(rig.bus.state.velocity_rad_s, -0.7, atol=sts.RAD_PER_STEP)
        rig.bus.write_setpoints(rig.bus.state.position_rad, soon())
        rig.bus.read_state(soon())
        np.testing.assert_allclose(rig.joints.goal_rad, 0.2, atol=sts.RAD_PER_STEP)
        rig.bus.write_setpoints(np.full(6, 9.0), soon())
        rig.bus.read_state(soon())
        np.testing.assert_allclose(rig.joints.goal_rad, offset - 1.0, atol=sts.RAD_PER_STEP)
    finally:
        rig.close()


def test_a_late_answer_is_not_taken_for_the_present_one(rig: FeetechRig) -> None:
    rig.bus.connect(soon())
    for _ in range(3):  # as many late answers as there are tags to spare
        rig.late_ns = 60_000_000
        with pytest.raises(Timeout):
            rig.bus.read_state(soon(5))
        rig.joints.position_rad[:] += 0.25
    rig.late_ns = 0  # asked now, yet the late answers arrive first
    rig.bus.read_state(soon(500))
    np.testing.assert_allclose(rig.bus.state.position_rad, rig.joints.position_rad, atol=sts.RAD_PER_STEP)


def test_stale_bytes_and_echoes_are_passed_over(rig: FeetechRig) -> None:
    rig.bus.connect(soon())
    stale = packets.sync_read(range(1, 7), 0x38, 4) + packets.packet(2, 0, bytes(4))[:7] + b"\xff\xff\x03\xff"
    rig.prefix = stale
    rig.joints.position_rad[:] = 0.125
    rig.bus.read_state(soon())
    np.testing.assert_allclose(rig.bus.state.position_rad, 0.125, atol=sts.RAD_PER_STEP)


def test_answers_that_were_there_before_the_question_are_thrown_away(rig: FeetechRig) -> None:
    rig.bus.connect(soon())
    rig.inject(b"".join(packets.packet(id, 0, bytes(4)) for id in range(1, 7)))
    rig.bus.read_state(soon())
    np.testing.assert_allclose(rig.bus.state.position_rad, rig.joints.position_rad, atol=sts.RAD_PER_STEP)


def test_a_cable_pulled_while_waiting_is_noticed_at_once(rig: FeetechRig) -> None:
    rig.bus.connect(soon())
    rig.silence(True)
    pull = threading.Timer(0.05, rig.unplug)
    pull.start()
    start = time.monotonic()
    with pytest.raises(Disconnected, match="gone away"):
        rig.bus.read_state(soon(5000))
    assert time.monotonic() - start < 2.0
    pull.join()


def test_a_damaged_answer_is_corrupt_and_names_the_joint(rig: FeetechRig) -> None:
    rig.bus.connect(soon())
    rig.device.faults.corrupt = {3}
    start = time.monotonic()
    with pytest.raises(Corrupt, match=r"'elbow' \(id 3\)"):
        rig.bus.read_state(soon(2000))
    assert time.monotonic() - start < 1.0, "the last motor has answered: there is nothing to wait for"
    rig.device.faults.corrupt = set()
    rig.bus.read_state(soon())


def test_no_torque_while_answers_are_damaged(rig: FeetechRig) -> None:
    rig.bus.connect(soon())
    rig.device.faults.corrupt = {6}
    with pytest.raises(Corrupt):
        rig.bus.enable_torque(soon(500))
    assert not rig.joints.torque_on.any(), "no torque before every goal is known to be the present position"


def test_a_motor_that_does_not_take_its_goal_gets_no_torque(rig: FeetechRig) -> None:
    rig.bus.connect(soon())
    servo = rig.device.servos[2]
    servo.write = lambda address, data: None  # type: ignore[method-assign]
    with pytest.raises(ProtocolError, match=r"elbow.*did not take its goal"):
        rig.bus.enable_torque(soon())
    assert not rig.joints.torque_on.any()


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (
            lambda rig: rig.device.servos[1].put(sts.MODEL, 2825),
            ProtocolError,
            r"lift.*2825 \(sts3250\), not .*sts3215",
        ),
        (lambda rig: rig.device.servos[1].put(sts.MODE, 1), ProtocolError, r"lift.*mode 1"),
        (lambda rig: rig.device.power(False), Timeout, "no motor answers"),
        (lambda rig: rig.device.faults.corrupt.add(5), Corrupt, "roll"),
    ],
)
def test_connect_refuses_what_is_not_as_described(rig: FeetechRig, change, error, says: str) -> None:  # type: ignore[no-untyped-def]
    change(rig)
    with pytest.raises(error, match=says) as caught:
        rig.bus.connect(soon())
    assert "\n" not in str(caught.value)
    with pytest.raises(Disconnected):
        rig.bus.read_state(soon())


def test_two_motors_with_one_id_are_told_apart_from_one(tmp_path: Path) -> None:
    rig = FeetechRig(tmp_path, ids=(1, 2, 3, 3, 5, 6))
    try:
        with pytest.raises(ProtocolError, match=r"elbow.*two motors have this id"):
            rig.bus.connect(soon())
    finally:
        rig.close()


def test_speed_unit_is_the_servos_own(rig: FeetechRig) -> None:
    rig.device.servos[0].put(sts.PHASE, 8)  # speeds in 50 steps/s
    rig.bus.connect(soon())
    rig.joints.velocity_rad_s[:] = 20 * sts.RAD_PER_STEP
    rig.bus.read_state(soon())
    assert rig.bus.state.velocity_rad_s[0] == pytest.approx(50 * rig.bus.state.velocity_rad_s[1])


def test_overload_names_joint_and_faults(rig: FeetechRig) -> None:
    rig.bus.connect(soon())
    rig.joints.temperature_c[2] = 90.0
    rig.device.supply_v = 3.0
    with pytest.raises(Overload, match=r"'elbow' \(id 3\).*supply voltage.*too hot.*0x05"):
        rig.bus.read_health(2, soon())
    assert rig.bus.state.voltage_v[2] == pytest.approx(3.0)
    assert rig.bus.state.temperature_c[2] == 90.0


def test_safe_action_needs_no_connect(rig: FeetechRig) -> None:
    rig.bus.connect(soon())
    rig.bus.enable_torque(soon())
    rig.bus.disconnect()
    rig.drop(0)
    with pytest.raises(Timeout, match="pan"):
        rig.bus.safe_action(soon(500))
    assert rig.joints.torque_on.tolist() == [False, True, True, True, True, False]


def test_safe_action_lets_go_first(rig: FeetechRig) -> None:
    rig.bus.connect(soon())
    rig.heard.clear()
    rig.bus.safe_action(soon())
    assert b"".join(rig.heard).startswith(packets.sync_write({6: b"\0"}, 40, 1) + packets.read(6, 40, 4))


def test_dead_motors_do_not_use_up_the_time_of_the_others(rig: FeetechRig) -> None:
    rig.bus.connect(soon())
    rig.bus.enable_torque(soon())
    rig.drop(0)
    rig.drop(1)
    with pytest.raises(Timeout, match="pan"):
        rig.bus.safe_action(soon(100))
    assert rig.joints.torque_on.tolist() == [False, False, True, True, True, False]


@pytest.mark.parametrize(
    ("change", "says"),
    [({"model": "sts9999"}, "sts9999.*sts3215"), ({"zero_step": 100}, "steps -1530 to 1730.*zero_step")],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, change: dict[str, object], says: str) -> None:
    first, *rest = motors("sts3215")
    bus = Bus(BusSettings("arm", str(tmp_path / "arm"), 1_000_000, (replace(first, **change), *rest)))  # type: ignore[arg-type]
    with pytest.raises(DriverError, match=says):
        bus.connect(soon())


def make_bus(port: Path | str) -> Bus:
    return Bus(BusSettings("arm", str(port), 1_000_000, motors("sts3215")))


def test_absent_port(tmp_path: Path) -> None:
    with pytest.raises(Disconnected, match=r"bus 'arm' on .*nothing: there is no such port"):
        make_bus(tmp_path / "nothing").connect(soon())


def test_something_that_is_no_port(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Disconnected, match="not a serial port"):
        make_bus(tmp_path / "file").connect(soon())
    with pytest.raises(Disconnected, match="not a serial port"):
        make_bus(tmp_path).connect(soon())


def test_busy_port(rig: FeetechRig, tmp_path: Path) -> None:
    rig.bus.connect(soon())
    with pytest.raises(Disconnected, match="busy"):
        make_bus(tmp_path / "arm").connect(soon())
    rig.bus.read_state(soon())


def test_a_port_held_by_another_process_is_busy_until_that_ends(rig: FeetechRig, tmp_path: Path) -> None:
    code = "import sys, serial; p = serial.Serial(sys.argv[1], exclusive=True); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "arm")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(Disconnected, match="busy"):
            rig.bus.connect(soon())
        other.kill()
        other.wait()
    rig.bus.connect(soon())


def test_no_permission(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = os.open

    def refuse(path: str, *rest: int, **named: int) -> int:
        if str(path) == str(tmp_path / "arm"):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Disconnected, match="dialout"):
        make_bus(tmp_path / "arm").connect(soon())
