"""The Damiao bus against simulated motors on python-can's virtual bus, and on vcan where the kernel has it."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

can = pytest.importorskip("can", reason="python-can is not installed: pip install '.[can]'")
pytest.importorskip("hypothesis")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from drivers.damiao import frames  # noqa: E402
from drivers.damiao import motors as dm  # noqa: E402
from drivers.damiao.frames import Command, Frame, State  # noqa: E402
from drivers.errors import Corrupt, Disconnected, DriverError, Overload, ProtocolError, Timeout  # noqa: E402
from drivers.motors.base import BusSettings, Identity  # noqa: E402
from drivers.motors.damiao import CONTACT_S, Bus  # noqa: E402
from tests.drivers.motors.contract import MotorBusContract, soon  # noqa: E402
from tests.drivers.motors.damiao_rig import BUS_OFF, LINE_ERROR, DamiaoRig, arm  # noqa: E402

STEP_RAD = 25 / 65535


@pytest.fixture
def rig() -> Iterator[DamiaoRig]:
    rig = DamiaoRig()
    yield rig
    rig.close()


class TestContract(MotorBusContract):
    STEP_RAD = STEP_RAD
    SPEED_STEP_RAD_S = 60 / 4095


def moved(rig: DamiaoRig) -> list[Frame]:
    """What the motors have heard since the last call."""
    heard = rig.heard.copy()
    rig.heard.clear()
    return heard


def test_one_cycle_is_one_frame_a_motor(rig: DamiaoRig) -> None:
    rig.bus.connect(soon())
    rig.bus.enable_torque(soon())
    moved(rig)
    angles = np.array([0.0, 1.0, -1.0, 0.5, -0.5, 2.0])
    rig.bus.write_setpoints(angles, soon())
    rig.bus.read_state(soon())
    counts = [32768, 35389, 30146, 34078, 31457, 38010]  # 32767.5 + angle · 65535 / 25, rounded
    assert moved(rig) == [
        frames.command(i + 1, Command(count, 0x7FF, 328, 1228, 0x7FF)) for i, count in enumerate(counts)
    ]
    rig.bus.read_state(soon())
    assert moved(rig) == [frames.refresh(id) for id in range(1, 7)]


def test_torque_comes_on_at_the_present_position(rig: DamiaoRig) -> None:
    rig.bus.connect(soon())
    rig.joints.position_rad[:] = 0.25
    moved(rig)
    rig.bus.enable_torque(soon())
    heard = [frame for frame in moved(rig) if frame.id == 4]
    command = frames.command(4, Command(33423, 0x7FF, 328, 1228, 0x7FF))
    assert heard == [command, frames.special(4, frames.ENABLE), command]


def test_zero_and_direction_map_both_ways() -> None:
    settings = [replace(m, zero_step=33000, direction=-1, range_rad=(-1.0, 1.0)) for m in arm()]
    rig = DamiaoRig(tuple(settings))
    try:
        rig.bus.connect(soon())
        rig.bus.enable_torque(soon())
        rig.joints.position_rad[:] = 0.2
        rig.joints.velocity_rad_s[:] = 0.7
        rig.bus.read_state(soon())
        offset = (33000 - 32768) * STEP_RAD
        np.testing.assert_allclose(rig.bus.state.position_rad, offset - 0.2, atol=STEP_RAD)
        np.testing.assert_allclose(rig.bus.state.velocity_rad_s, -0.7, atol=30 / 4095)
        rig.bus.write_setpoints(np.full(6, 9.0), soon())
        rig.bus.read_state(soon())
        np.testing.assert_allclose(rig.joints.goal_rad, offset - 1.0, atol=STEP_RAD)
    finally:
        rig.close()


def test_each_cycle_tells_the_currents(rig: DamiaoRig) -> None:
    rig.bus.connect(soon())
    assert Bus.CURRENT_EACH_CYCLE
    rig.joints.current_a[:] = np.linspace(0.2, 1.2, 6)
    moved(rig)
    rig.bus.read_state(soon())
    assert moved(rig) == [frames.refresh(id) for id in range(1, 7)]  # and not a frame more
    np.testing.assert_allclose(rig.bus.state.current_a, rig.joints.current_a, atol=0.02)


def test_a_torque_limit_is_refused(rig: DamiaoRig) -> None:
    first, *others = rig.bus.settings.motors
    bus = Bus(replace(rig.bus.settings, motors=(replace(first, torque_limit=0.5), *others)))
    with pytest.raises(DriverError, match=r"'pan' \(id 1\): damiao motors take no torque_limit: leave it out"):
        bus.connect(soon())


def test_counts_mean_what_the_motor_says_they_mean(rig: DamiaoRig) -> None:
    rig.device.motors[2].registers |= {dm.P_MAX: 4.0, dm.V_MAX: 3.0, dm.T_MAX: 1.0}
    rig.bus.connect(soon())
    rig.joints.position_rad[:], rig.joints.velocity_rad_s[:], rig.joints.current_a[:] = 1.5, 2.5, 0.5
    rig.bus.read_state(soon())
    rig.bus.read_health(2, soon())
    assert rig.bus.state.position_rad[2] == pytest.approx(1.5, abs=8 / 65535)
    assert rig.bus.state.velocity_rad_s[2] == pytest.approx(2.5, abs=6 / 4095)
    assert rig.bus.state.current_a[2] == pytest.approx(0.5, abs=2 / 4095)
    rig.bus.enable_torque(soon())
    rig.bus.write_setpoints(np.full(6, -1.25), soon())
    rig.bus.read_state(soon())
    np.testing.assert_allclose(rig.joints.goal_rad, -1.25, atol=STEP_RAD)


def test_motors_let_go_of_a_silent_host_and_come_back(rig: DamiaoRig) -> None:
    rig.bus.connect(soon())
    rig.bus.enable_torque(soon())
    rig.device.protect(CONTACT_S * 0.9)
    assert rig.joints.torque_on.all()
    rig.bus.read_state(soon())
    rig.device.protect(CONTACT_S * 0.9)
    assert rig.joints.torque_on.all(), "a question is contact enough"
    rig.device.protect(CONTACT_S)
    assert not rig.joints.torque_on.any()
    with pytest.raises(Overload, match=r"'pan' \(id 1\).*lost contact.*0xd"):
        rig.bus.read_health(0, soon())
    rig.bus.connect(soon())
    rig.bus.read_health(0, soon())
    assert not rig.joints.torque_on.any()
    rig.bus.enable_torque(soon())
    assert rig.joints.torque_on.all()


def test_what_is_held_stays_held_when_the_host_goes(rig: DamiaoRig) -> None:
    rig.bus.connect(soon())
    rig.bus.enable_torque(soon())
    rig.bus.safe_action(soon())
    rig.bus.disconnect()
    rig.device.protect(3600)
    assert rig.joints.torque_on.tolist() == [True] * 5 + [False]


def test_after_a_safe_action_alone_nothing_is_commanded(rig: DamiaoRig) -> None:
    rig.bus.safe_action(soon())
    with pytest.raises(Disconnected, match="connect"):
        rig.bus.write_setpoints(np.zeros(6), soon())


def test_what_is_held_is_where_the_arm_is_now(rig: DamiaoRig) -> None:
    rig.bus.connect(soon())
    rig.bus.enable_torque(soon())
    rig.bus.write_setpoints(np.full(6, 1.0), soon())
    time.sleep(0.05)  # its answers have come, and nobody has read them
    rig.joints.position_rad[:] = 0.6
    rig.bus.safe_action(soon())
    np.testing.assert_allclose(rig.joints.goal_rad[:5], 0.6, atol=STEP_RAD)


def test_safe_action_lets_go_first(rig: DamiaoRig) -> None:
    rig.bus.connect(soon())
    moved(rig)
    rig.bus.safe_action(soon())
    assert moved(rig)[0] == frames.special(6, frames.DISABLE)


@pytest.mark.parametrize(("status", "words"), dm.FAULTS.items())
def test_faults_have_words_and_get_no_torque(rig: DamiaoRig, status: int, words: str) -> None:
    rig.bus.connect(soon())
    rig.device.motors[2].status = status
    with pytest.raises(Overload, match=rf"'elbow' \(id 3\) reports: {words} \(status 0x{status:x}\)"):
        rig.bus.read_health(2, soon())
    if status != dm.LOST_CONTACT:  # which is the host's own doing, and cleared
        with pytest.raises(Overload, match="elbow"):
            rig.bus.enable_torque(soon())
        assert not rig.joints.torque_on.any()


def test_a_motor_beyond_its_range_gets_no_torque(rig: DamiaoRig) -> None:
    rig.bus.connect(soon())
    rig.joints.position_rad[3] = 14.0  # which it tells as 12.5: to hold that would be a jump
    with pytest.raises(ProtocolError, match=r"flex.*beyond its P_MAX"):
        rig.bus.enable_torque(soon())
    assert not rig.joints.torque_on.any()


def test_health_of_supply_and_temperature(rig: DamiaoRig) -> None:
    rig.bus.connect(soon())
    rig.device.supply_v = 23.5
    rig.bus.read_health(1, soon())
    assert rig.bus.state.voltage_v[1] == 23.5
    rig.device.supply_v = 9.0
    with pytest.raises(Overload, match=r"lift.*undervoltage"):
        rig.bus.read_health(1, soon())


def test_a_motor_that_does_not_tell_its_supply(rig: DamiaoRig) -> None:
    for motor in rig.device.motors[:2]:
        del motor.registers[dm.SUPPLY]
    rig.bus.connect(soon())
    rig.bus.read_health(0, soon())
    rig.bus.read_health(2, soon())
    assert rig.bus.state.voltage_v.tolist() == [0, 0, 24, 0, 0, 0]


def test_identify(rig: DamiaoRig) -> None:
    rig.bus.connect(soon())
    assert rig.bus.identify(2, soon()) == Identity("dm4310", "5015", 0)
    rig.device.motors[2].registers[dm.GEAR_RATIO] = 40.0
    assert rig.bus.identify(2, soon()).model == "dm4340"
    rig.device.motors[2].registers[dm.GEAR_RATIO] = 3.0
    assert rig.bus.identify(2, soon()).model == "unknown (gear ratio 3, 14 pole pairs)"


def test_center_makes_the_present_position_the_zero(rig: DamiaoRig) -> None:
    rig.bus.connect(soon())
    rig.joints.position_rad[1] = 0.7
    rig.bus.center(1, soon())
    rig.bus.read_state(soon())
    assert rig.bus.state.position_rad[1] == pytest.approx(0, abs=STEP_RAD)
    rig.bus.enable_torque(soon())
    with pytest.raises(ProtocolError, match=r"lift.*torque is on"):
        rig.bus.center(1, soon())


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({dm.GEAR_RATIO: 40.0}, ProtocolError, r"lift.*gear ratio 40 and 14 pole pairs are no dm4310's"),
        ({dm.POLE_PAIRS: 21}, ProtocolError, r"lift.*gear ratio 10 and 21 pole pairs"),
        ({dm.CONTROL_MODE: 2}, ProtocolError, r"lift.*mode 2"),
        ({dm.P_MAX: -12.5}, ProtocolError, r"lift.*P_MAX is -12.5"),
        ({dm.T_MAX: -10.0}, ProtocolError, r"lift.*T_MAX is -10"),
        ({dm.P_MAX: 2.0}, ProtocolError, r"lift.*limits are counts -\d+ to \d+"),
        ({dm.MST_ID: 0x52}, ProtocolError, r"lift.*MST_ID must be its id \+ 16"),
    ],
)
def test_connect_refuses_what_is_not_as_described(
    rig: DamiaoRig, change: dict[dm.Register, float], error: type[DriverError], says: str
) -> None:
    rig.device.motors[1].registers |= change
    with pytest.raises(error, match=says) as caught:
        rig.bus.connect(soon())
    assert "\n" not in str(caught.value)
    with pytest.raises(Disconnected):
        rig.bus.read_state(soon())


def test_two_motors_with_one_id_are_told_apart_from_one() -> None:
    rig = DamiaoRig(arm(), ids=(1, 2, 3, 3, 5, 6))
    rig.bus = Bus(BusSettings("arm", rig.bus.settings.port, 1_000_000, tuple(m for m in arm() if m.id != 4)))
    try:
        with pytest.raises(ProtocolError, match=r"elbow.*two motors have this id"):
            rig.bus.connect(soon())
    finally:
        rig.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "dm4311"}, "dm4311.*dm4310"),
        ({"id": 16}, "id from 1 to 15"),
        ({"stiffness": 0.0}, "stiffness is 0 and must be above 0"),
        ({"damping": 0.0}, "damping is 0 and must be above 0"),
        ({"damping": 5.1}, r"damping is 5\.1 and must be .* at most 5"),
        ({"zero_step": 100}, "counts -6454 to 6653.*zero_step"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, object], says: str) -> None:
    first, *rest = arm()
    rig = DamiaoRig((replace(first, **change), *rest), ids=range(1, 7))  # type: ignore[arg-type]
    try:
        with pytest.raises(DriverError, match=rf"'pan'.*{says}"):
            rig.bus.connect(soon())
        assert not rig.joints.torque_on.any()
    finally:
        rig.close()


def test_frames_of_others_are_passed_over(rig: DamiaoRig) -> None:
    rig.bus.connect(soon())
    state = frames.state(2, State(0, 1, 2, 3, 4, 5)).data
    rig.before = [
        can.Message(arbitration_id=0x62, data=state, is_extended_id=False),  # another line's motor
        can.Message(arbitration_id=0x12, data=state, is_extended_id=True),
        can.Message(arbitration_id=0x12, data=state[:7], is_extended_id=False),
        can.Message(arbitration_id=0x12, data=frames.read(2, dm.SUPPLY).data, is_extended_id=False),  # as if answered
        LINE_ERROR,
    ]
    rig.joints.position_rad[:] = 0.125
    rig.bus.read_state(soon())
    np.testing.assert_allclose(rig.bus.state.position_rad, 0.125, atol=STEP_RAD)


def test_answers_that_were_there_before_the_question_are_thrown_away(rig: DamiaoRig) -> None:
    rig.bus.connect(soon())
    for id in range(1, 7):
        old = frames.state(id, State(0, 1, 2, 3, 4, 5))
        rig.wire.send(can.Message(arbitration_id=old.id, data=old.data, is_extended_id=False))
    rig.bus.read_state(soon())
    np.testing.assert_allclose(rig.bus.state.position_rad, rig.joints.position_rad, atol=STEP_RAD)


def test_a_wrong_answer_names_the_joint(rig: DamiaoRig) -> None:
    rig.bus.connect(soon())
    rig.device.faults.corrupt = {3}
    with pytest.raises(ProtocolError, match=r"'elbow' \(id 3\)"):
        rig.bus.read_state(soon(50))


def test_errors_on_the_line_are_told_from_silence(rig: DamiaoRig) -> None:
    rig.bus.connect(soon())
    rig.drop(2)
    rig.before = [LINE_ERROR]
    with pytest.raises(Corrupt, match=r"'elbow' \(id 3\).*bit rate"):
        rig.bus.read_state(soon(50))


def test_bus_off_says_what_to_do_until_it_is_opened_again(rig: DamiaoRig) -> None:
    rig.bus.connect(soon())
    rig.wire.send(BUS_OFF)
    with pytest.raises(Disconnected, match=r"bus-off.*sudo ip link set .* up type can bitrate 1000000"):
        rig.bus.read_state(soon())
    with pytest.raises(Disconnected, match="bus-off"):
        rig.bus.write_setpoints(np.zeros(6), soon())
    rig.bus.connect(soon())
    rig.bus.read_state(soon())


def test_a_write_that_fails_half_way_says_whom_it_has_told(rig: DamiaoRig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.bus.connect(soon())
    rig.bus.enable_torque(soon())
    port, told = rig.bus._line._port, 0
    hand_over = port.send

    def two_and_no_more(message: can.Message, deadline_ns: int) -> None:
        nonlocal told
        if told == 2:
            raise Timeout("the interface takes no more frames")
        told += 1
        hand_over(message, deadline_ns)

    monkeypatch.setattr(port, "send", two_and_no_more)
    with pytest.raises(Timeout, match="takes no more"):
        rig.bus.write_setpoints(np.zeros(6), soon())
    assert rig.bus.told == 2
    with pytest.raises(ProtocolError, match="not a number"):
        rig.bus.write_setpoints(np.full(6, np.nan), soon())
    assert rig.bus.told == 0
    with pytest.raises(Timeout, match="takes no more"):
        rig.bus.write_setpoints(np.zeros(6), soon())
    assert rig.bus.told == 0


def test_a_busy_line_does_not_prolong_a_wait(rig: DamiaoRig) -> None:
    rig.bus.connect(soon())
    rig.silence(True)
    stop = threading.Event()

    def chatter() -> None:
        while not stop.is_set():
            rig.wire.send(can.Message(arbitration_id=0x62, data=bytes(8), is_extended_id=False))

    thread = threading.Thread(target=chatter)
    thread.start()
    try:
        start = time.monotonic()
        with pytest.raises((ProtocolError, Timeout)):
            rig.bus.read_state(soon(20))
        assert time.monotonic() - start < 2.0  # without an end, on a machine however busy, it would be for ever
    finally:
        stop.set()
        thread.join()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 0x7FF), st.binary(max_size=8)), max_size=6))
def test_whatever_comes_is_an_answer_or_a_documented_error(chatter: list[tuple[int, bytes]]) -> None:
    rig = DamiaoRig()
    try:
        rig.bus.connect(soon())
        rig.before = [can.Message(arbitration_id=id, data=data, is_extended_id=False) for id, data in chatter]
        for call in (rig.bus.read_state, rig.bus.enable_torque, rig.bus.safe_action, rig.bus.connect):
            with suppress(DriverError):
                call(soon(100))
        rig.before = []
        rig.bus.connect(soon())
        np.testing.assert_allclose(rig.bus.state.position_rad, rig.joints.position_rad, atol=STEP_RAD)
    finally:
        rig.close()


def test_an_interface_that_is_not_there() -> None:
    bus = Bus(BusSettings("arm", "can93", 500_000, arm()))
    with pytest.raises(Disconnected, match=r"bus arm on can93: (this kernel has no CAN|there is no such interface)"):
        bus.connect(soon())


@pytest.fixture
def vcan() -> Iterator[str]:
    """A virtual CAN interface of the kernel's own."""
    name, ip = f"vcan{os.getpid()}", shutil.which("ip")
    if (
        ip is None
        or subprocess.run([ip, "link", "add", name, "type", "vcan"], check=False, capture_output=True).returncode
    ):
        pytest.skip("no vcan: this kernel lacks it, or this user may not add an interface")
    try:
        subprocess.run([ip, "link", "set", name, "up"], check=True)
        yield name
    finally:
        subprocess.run([ip, "link", "delete", name], check=True)


def test_socketcan_on_vcan(vcan: str) -> None:
    rig = DamiaoRig(port=vcan)
    try:
        rig.bus.connect(soon())
        rig.bus.enable_torque(soon())
        rig.bus.write_setpoints(np.full(6, 0.5), soon())
        rig.bus.read_state(soon())
        np.testing.assert_allclose(rig.joints.goal_rad, 0.5, atol=STEP_RAD)
        rig.silence(True)
        with pytest.raises(Timeout):
            rig.bus.read_state(soon(20))
        rig.silence(False)
        subprocess.run(["ip", "link", "set", vcan, "down"], check=True)
        with pytest.raises(Disconnected, match=r"ip link set"):
            rig.bus.read_state(soon(500))
    finally:
        rig.close()
