"""Jia Xie's driver (PyPI: damiao-motor) as a judge: it drives our simulated motors, and its commands are our bytes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

peer = pytest.importorskip("damiao_motor", reason="damiao-motor is not installed: pip install damiao-motor")

from drivers.damiao import frames  # noqa: E402
from drivers.damiao import motors as dm  # noqa: E402
from drivers.damiao.frames import Command, Frame  # noqa: E402
from drivers.sim.can_wire import CanWire  # noqa: E402
from drivers.sim.damiao_device import DamiaoDevice  # noqa: E402
from tests.drivers.fake_joints import FakeJoints  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:The 'bustype' argument:DeprecationWarning")  # the peer's own


class Bench:
    """Two simulated motors, and the peer's view of them."""

    def __init__(self) -> None:
        channel = str(uuid.uuid4())
        self.joints = FakeJoints(2)
        self.device = DamiaoDevice(self.joints, ["dm4310", "dm6006"])
        self.heard: list[Frame] = []
        self.wire = CanWire("virtual", channel, self._feed)
        self.controller: Any = peer.DaMiaoController(channel, "virtual")
        self.motors: list[Any] = [
            self.controller.add_motor(id, id + frames.ANSWER_OFFSET, motor_type=model)
            for id, model in ((1, "4310"), (2, "6006"))
        ]

    def _feed(self, frame: Frame) -> list[Frame]:
        self.heard.append(frame)
        return self.device.feed(frame)

    def until(self, true: Callable[[], object]) -> None:
        """The peer sends and hears on threads of its own."""
        end = time.monotonic() + 5.0
        while not true():
            assert time.monotonic() < end
            time.sleep(0.002)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.controller.shutdown()
    bench.wire.close()


def test_the_peer_reads_our_motors_states(bench: Bench) -> None:
    joints = bench.joints
    joints.position_rad[:], joints.velocity_rad_s[:], joints.current_a[:] = [0.5, -1.25], [1.0, -2.0], 0.7
    joints.temperature_c[:] = 33.0
    bench.controller.enable_all()
    bench.until(lambda: all(motor.get_states() for motor in bench.motors))
    for index, (motor, model) in enumerate(zip(bench.motors, ("dm4310", "dm6006"), strict=True)):
        row, told = dm.MODELS[model], motor.get_states()
        assert told["status"] == "ENABLED"
        assert told["pos"] == pytest.approx(joints.position_rad[index], abs=row.p_max_rad / 65534)
        assert told["vel"] == pytest.approx(joints.velocity_rad_s[index], abs=row.v_max_rad_s / 4094)
        assert told["torq"] == pytest.approx(0.7 * row.nm_per_a, abs=row.t_max_nm / 4094)
        assert (told["t_mos"], told["t_rotor"]) == (33, 33)


def test_the_peer_moves_our_motors_and_lets_go(bench: Bench) -> None:
    bench.controller.enable_all()
    bench.until(lambda: all(motor.get_states() for motor in bench.motors))
    for motor in bench.motors:
        motor.send_cmd_mit(0.75, 0.0, 40.0, 1.5, 0.0)
    bench.until(bench.joints.torque_on.all)
    np.testing.assert_allclose(bench.joints.goal_rad, 0.75, atol=25 / 65535)  # the peer rounds down
    bench.controller.disable_all()
    bench.until(lambda: not bench.joints.torque_on.any())


def test_the_peer_reads_and_writes_our_motors_registers(bench: Bench) -> None:
    motor = bench.motors[1]
    registers = (dm.MST_ID, dm.ESC_ID, dm.CONTROL_MODE, dm.POLE_PAIRS, dm.GEAR_RATIO, dm.P_MAX, dm.T_MAX, dm.SUPPLY)
    told = [motor.get_register(register.number, timeout=2.0) for register in registers]
    assert told == [18, 2, 1, 14, 6, 12.5, 20, 24]
    motor.write_register(dm.TIMEOUT.number, 40_000)
    bench.until(lambda: bench.device.motors[1].registers[dm.TIMEOUT] == 2.0)


@pytest.mark.parametrize("count", [0, 1, 12_345, 32_768, 65_534, 65_535])
def test_its_commands_are_our_bytes(bench: Bench, count: int) -> None:
    motor = bench.motors[0]
    position = frames.from_count(count, -12.5, 12.5, frames.POSITION_BITS) + 1e-9  # the peer rounds down
    theirs = motor.encode_cmd_msg(position, 0.0, 0.0, 100.0, 2.0)
    assert theirs == frames.command(1, Command(count, frames.OTHER_ZERO, *frames.gain_counts(100, 2), 0x7FF)).data
    assert motor.encode_enable_msg() == frames.special(1, frames.ENABLE).data
    assert motor.encode_disable_msg() == frames.special(1, frames.DISABLE).data
    assert motor.encode_save_position_zero_msg() == frames.special(1, frames.SET_ZERO).data
    assert motor.encode_clear_error_msg() == frames.special(1, frames.CLEAR_ERROR).data
