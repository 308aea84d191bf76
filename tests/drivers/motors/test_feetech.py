"""The Feetech bus against simulated servos over a real pseudo-terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from drivers.errors import Disconnected, Overload
from drivers.feetech import packets, sts
from drivers.motors.base import BusSettings
from drivers.motors.feetech import Bus
from tests.drivers.motors.contract import motors, soon
from tests.drivers.motors.feetech_rig import FeetechRig
from tests.drivers.motors.servo_contract import ServoBusContract


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[FeetechRig]:
    rig = FeetechRig(tmp_path)
    yield rig
    rig.close()


class TestContract(ServoBusContract):
    RIG = FeetechRig


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


def test_safe_action_lets_go_first(rig: FeetechRig) -> None:
    rig.bus.connect(soon())
    rig.heard.clear()
    rig.bus.safe_action(soon())
    assert b"".join(rig.heard).startswith(packets.sync_write({6: b"\0"}, 40, 1) + packets.read(6, 40, 4))


def test_centering_is_kept_without_power_and_locked_again(rig: FeetechRig) -> None:
    rig.put(1, HOMING_OFFSET=-300)
    rig.bus.connect(soon())
    rig.bus.read_state(soon())
    encoder = round(rig.bus.state.position_rad[1] / sts.RAD_PER_STEP) + 2048 - 300  # position = encoder - offset
    rig.bus.center(1, soon())
    assert rig.get(1, "HOMING_OFFSET") == rig.bus.identify(1, soon()).homing == encoder - 2048
    assert [rig.get(i, "LOCK") for i in range(6)] == [1] * 6
    rig.supply(False)
    rig.supply(True)
    rig.bus.connect(soon())
    assert rig.bus.state.position_rad[1] == pytest.approx(0.0, abs=sts.RAD_PER_STEP)


def make_bus(port: Path | str) -> Bus:
    return Bus(BusSettings("arm", str(port), 1_000_000, motors("sts3215")))


def test_absent_port(tmp_path: Path) -> None:
    with pytest.raises(Disconnected, match=r"bus arm on .*nothing: there is no such port"):
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
