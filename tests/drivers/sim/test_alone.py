"""`edge sim --protocol`: servos alone as a process, driven by the vendors' SDKs."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from drivers.dynamixel import x
from drivers.feetech import packets, sts
from drivers.sim.bench import Bench
from drivers.sim.servos import NO_LOAD_RAD_S

WAIT_S = 10.0


@contextmanager
def running(*options: str) -> Iterator[subprocess.Popen[str]]:
    main = "import sys; from edge_runtime.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", main, "sim", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def opened(sdk: ModuleType, path: str) -> Any:
    port = sdk.PortHandler(path)
    port.setPacketTimeout = lambda size: port.setPacketTimeoutMillis(500.0)
    assert port.openPort()
    return port


def reaches(read: Callable[[], int], goal: int) -> bool:
    """Whether the servo gets there, however slow the machine."""
    end = time.monotonic() + WAIT_S
    while abs(read() - goal) > 2 and time.monotonic() < end:
        time.sleep(0.02)
    return abs(read() - goal) <= 2


def test_dynamixel_servos_alone(tmp_path: Path) -> None:
    sdk = pytest.importorskip("dynamixel_sdk", reason="dynamixel-sdk is not installed")
    with running("--protocol", "dynamixel", "--servos", "3", "--dir", str(tmp_path)) as process:
        assert process.stdout is not None
        path = process.stdout.readline().strip()
        assert path == str(tmp_path / "dynamixel")
        port, handler = opened(sdk, path), sdk.PacketHandler(2.0)
        assert [handler.ping(port, id)[:2] for id in (1, 2, 3)] == [(1020, sdk.COMM_SUCCESS)] * 3
        assert handler.write1ByteTxRx(port, 2, x.TORQUE_ENABLE.address, 1) == (sdk.COMM_SUCCESS, 0)
        assert handler.write4ByteTxRx(port, 2, x.GOAL_POSITION.address, 2500) == (sdk.COMM_SUCCESS, 0)
        assert reaches(lambda: handler.read4ByteTxRx(port, 2, x.PRESENT_POSITION.address)[0], 2500)
        assert handler.read4ByteTxRx(port, 1, x.PRESENT_POSITION.address)[0] == 2048
        port.closePort()
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0
    assert list(tmp_path.iterdir()) == []


def test_feetech_servos_alone_and_no_second_ones_beside_them(tmp_path: Path) -> None:
    sdk = pytest.importorskip("scservo_sdk", reason="feetech-servo-sdk is not installed")
    with running("--protocol", "feetech", "--dir", str(tmp_path)) as process:
        assert process.stdout is not None
        port, handler = opened(sdk, process.stdout.readline().strip()), sdk.PacketHandler(0)
        assert [handler.ping(port, id)[:2] for id in range(1, 7)] == [(777, sdk.COMM_SUCCESS)] * 6
        assert handler.write1ByteTxRx(port, 6, sts.TORQUE_ENABLE.address, 1) == (sdk.COMM_SUCCESS, 0)
        assert handler.write2ByteTxRx(port, 6, sts.GOAL_POSITION.address, 1500) == (sdk.COMM_SUCCESS, 0)
        assert reaches(lambda: handler.read2ByteTxRx(port, 6, sts.PRESENT_POSITION.address)[0], 1500)
        port.closePort()
        with running("--protocol", "feetech", "--dir", str(tmp_path)) as second:
            assert second.wait(WAIT_S) == 2
            assert second.stderr is not None
            assert "other servos run in this directory" in second.stderr.read()
        process.kill()  # it cannot tidy up, and does not stand in the way of the next
        process.wait()
    with running("--protocol", "feetech", "--dir", str(tmp_path)) as next_one:
        assert next_one.stdout is not None
        assert next_one.stdout.readline().strip() == str(tmp_path / "feetech")


def test_servos_on_a_serial_port_until_its_cable_is_pulled() -> None:
    """The port is a pseudo-terminal that is not theirs; the test is at the other end of the cable."""
    host, theirs = os.openpty()
    port = os.ttyname(theirs)
    with running("--protocol", "feetech", "--port", port) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == port
        os.write(host, packets.ping(6))
        assert answer(host, 6) == packets.packet(6, 0)
        with running("--protocol", "feetech", "--port", port) as second:
            assert second.wait(WAIT_S) == 2
            assert second.stderr is not None
            assert f"simulated servos on {port}: the port is busy" in second.stderr.read()
        os.close(theirs)
        os.close(host)
        assert process.wait(WAIT_S) == 2
        assert process.stderr is not None
        assert "the port has gone away" in process.stderr.read()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--protocol", "feetech", "--port", "/dev/no-such-port"), "there is no such port"),
        (("--port", "/dev/no-such-port"), "--port goes with --protocol"),
    ],
)
def test_ports_that_cannot_be(options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    with running("--dir", str(tmp_path / "sim"), *options) as process:
        assert process.wait(WAIT_S) == 2
        assert process.stderr is not None
        assert words in process.stderr.read()
    assert list(tmp_path.iterdir()) == []


def answer(host: int, size: int) -> bytes:
    data = b""
    while len(data) < size and select.select([host], [], [], WAIT_S)[0]:
        data += os.read(host, size)
    return data


def test_a_servo_on_the_bench_follows_at_its_speed_and_stays_without_torque() -> None:
    bench = Bench(2)
    bench.goal_rad[:] = 2.0
    bench.torque_on[0] = True
    bench.step(0.1)
    assert bench.shaft_rad.tolist() == pytest.approx([0.1 * NO_LOAD_RAD_S, 0.0])
    assert bench.velocity_rad_s.tolist() == pytest.approx([NO_LOAD_RAD_S, 0.0])
    for _ in range(100):
        bench.step(0.01)
    assert bench.position_rad[0] == pytest.approx(2.0, abs=2e-3)
    assert bench.velocity_rad_s[0] == pytest.approx(0.0, abs=1e-3)
