"""The bus without motors: what it writes down, what it answers, and what it says of a script that is none."""

import time
from pathlib import Path

import numpy as np
import pytest

from drivers.errors import Disconnected, Timeout
from drivers.motors.base import BusSettings, MotorSettings
from drivers.motors.null import Bus
from tests.drivers.fake_joints import FakeJoints
from tests.drivers.fake_time import FakeTime
from tests.drivers.motors.contract import MotorBusContract, Rig, motors

FAR_NS = 10**18


@pytest.fixture(autouse=True)
def fake_time(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeTime.now_ns = time.monotonic_ns()
    monkeypatch.setattr("drivers.motors.null.time", FakeTime)


class NullRig(Rig):
    """The bus with its states taken from joints that a hand can move, and the joints' torque and goals from the bus."""

    def __init__(self) -> None:
        self.joints = FakeJoints()
        bus = Bus(BusSettings("arm", "follow", 1, motors("any")))
        bus.play(self.joints.position_rad[None], 1.0, 0)
        self.joints.torque_on, self.joints.goal_rad = bus.torque_on, bus.goal_rad
        self.bus = bus

    def silence(self, on: bool) -> None:
        raise NotImplementedError

    def drop(self, index: int) -> None:
        raise NotImplementedError

    def unplug(self) -> None:
        raise NotImplementedError


@pytest.fixture
def rig() -> NullRig:
    return NullRig()


class TestContract(MotorBusContract):
    """All of the contract but what only motors and a line can do: fail, fall silent, be pulled out."""

    STEP_RAD = 1e-9
    LINE = False


for _name in (
    "test_state_is_read_in_place_and_stamped",
    "test_health",
    "test_a_hot_motor_is_named",
    "test_silence_is_a_timeout_at_the_deadline_and_changes_nothing",
    "test_a_dropped_motor_is_named",
    "test_connect_names_the_motors_that_are_missing",
    "test_safe_action_reaches_the_others_past_a_dead_motor",
    "test_safe_action_releases_even_while_no_motor_is_heard",
    "test_safe_action_needs_no_connect",
    "test_dead_motors_do_not_use_up_the_time_of_the_others",
    "test_unplugged_every_call_says_so",
    "test_centering_makes_this_the_middle_and_moves_nothing",
):
    assert hasattr(MotorBusContract, _name)
    setattr(TestContract, _name, None)


def make(port: str, range_rad: tuple[float, float] = (-1.0, 1.0), n: int = 2, safe: str = "hold") -> Bus:
    motors = tuple(MotorSettings(f"j{i}", i, "any", 0, 1, range_rad, safe) for i in range(n))  # type: ignore[arg-type]
    return Bus(BusSettings("arm", port, 1, motors))


def test_it_follows_while_torque_is_on() -> None:
    bus = make("follow", (0.25, 1.0))
    bus.connect(FAR_NS)
    np.testing.assert_array_equal(bus.state.position_rad, [0.25, 0.25])
    bus.write_setpoints(np.array([0.5, 0.6]), FAR_NS)
    bus.read_state(FAR_NS)
    np.testing.assert_array_equal(bus.state.position_rad, [0.25, 0.25], "no torque, no motion")
    bus.enable_torque(FAR_NS)
    bus.write_setpoints(np.array([0.5, 0.6]), FAR_NS)
    FakeTime.sleep(0.1)
    bus.read_state(FAR_NS)
    assert bus.state.stamp_ns == FakeTime.now_ns
    np.testing.assert_array_equal(bus.state.position_rad, [0.5, 0.6])
    np.testing.assert_allclose(bus.state.velocity_rad_s, [2.5, 3.5])


def test_the_record_has_every_command_even_beyond_its_first_room() -> None:
    bus = make("follow", (-9e9, 9e9))
    bus.connect(FAR_NS)
    setpoint = np.zeros(2)
    began_ns = FakeTime.now_ns
    for k in range(5000):
        setpoint[:] = k, -k
        FakeTime.sleep(0.01)
        bus.write_setpoints(setpoint, FAR_NS)
    bus.disconnect()
    commands = bus.commands()
    np.testing.assert_array_equal(commands.position_rad, np.arange(5000)[:, None] * np.array([1.0, -1.0]))
    np.testing.assert_array_equal(commands.t_ns, began_ns + 10_000_000 * np.arange(1, 5001))


def test_scripted_states_play_from_connect_and_ignore_commands(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.array([[0.0, 1.0], [0.1, 1.1], [0.3, 1.3]], np.float32))
    bus = make(f"{tmp_path}/s.npy@20")
    bus.connect(FAR_NS)
    np.testing.assert_allclose(bus.state.position_rad, [0, 1])
    np.testing.assert_allclose(bus.state.velocity_rad_s, [2, 2], rtol=1e-5)
    bus.enable_torque(FAR_NS)
    bus.write_setpoints(np.array([9.0, 9.0]), FAR_NS)
    for elapsed_s, position, velocity in ((0.049, 0.0, 2.0), (0.002, 0.1, 4.0), (0.05, 0.3, 0.0), (9.0, 0.3, 0.0)):
        FakeTime.sleep(elapsed_s)
        bus.read_state(FAR_NS)
        np.testing.assert_allclose(bus.state.position_rad, [position, 1 + position], rtol=1e-5)
        np.testing.assert_allclose(bus.state.velocity_rad_s, [velocity] * 2, rtol=1e-5)


def test_play_waits_for_its_start() -> None:
    bus = make("follow")
    bus.connect(FAR_NS)
    rows = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    bus.play(rows, 10.0, FakeTime.now_ns + 1_000_000_000)
    for elapsed_s, row, moves in ((0.999, 0, False), (0.002, 0, True), (0.1, 1, True), (0.1, 2, False)):
        FakeTime.sleep(elapsed_s)
        bus.read_state(FAR_NS)
        np.testing.assert_array_equal(bus.state.position_rad, rows[row])
        np.testing.assert_allclose(bus.state.velocity_rad_s, [2.0 * moves] * 2)


def test_the_safe_action_lets_go_where_it_is_declared() -> None:
    for safe, expected in (("hold", 0.5), ("release", 0.0)):
        bus = make("follow", safe=safe)
        bus.connect(FAR_NS)
        bus.enable_torque(FAR_NS)
        bus.safe_action(FAR_NS)
        bus.write_setpoints(np.array([0.5, 0.5]), FAR_NS)
        bus.read_state(FAR_NS)
        np.testing.assert_array_equal(bus.state.position_rad, [expected] * 2)


def test_a_call_behind_its_deadline_and_one_without_a_connection() -> None:
    bus = make("follow")
    with pytest.raises(Disconnected, match="bus arm: not connected"):
        bus.read_state(FAR_NS)
    bus.connect(FAR_NS)
    with pytest.raises(Timeout, match=r"bus arm: asked 1\.0 ms after the deadline"):
        bus.write_setpoints(np.zeros(2), FakeTime.now_ns - 1_000_000)
    assert len(bus.commands().t_ns) == 0


@pytest.mark.parametrize(
    ("port", "says"),
    [
        ("", 'neither "follow" nor'),
        ("s.npy", 'neither "follow" nor'),
        ("s.npy@fast", 'neither "follow" nor'),
        ("s.npy@0", 'neither "follow" nor'),
        ("s.npy@nan", 'neither "follow" nor'),
        ("none.npy@5", "none.npy: No such file or directory"),
        ("text.npy@5", "text.npy: not an .npy file"),
        ("three.npy@5", r"is not one array of floats \[T, 2\]"),
        ("ints.npy@5", r"is not one array of floats \[T, 2\]"),
        ("nan.npy@5", "not finite"),
        ("empty.npy@5", "is empty"),
        ("objects.npy@5", "not an .npy file"),
    ],
)
def test_a_script_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: str, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("s.npy", np.zeros((2, 2)))
    np.save("three.npy", np.zeros((2, 3)))
    np.save("ints.npy", np.zeros((2, 2), int))
    np.save("nan.npy", np.full((2, 2), np.nan))
    np.save("empty.npy", np.zeros((0, 2)))
    np.save("objects.npy", np.array([[{}, {}]]), allow_pickle=True)
    Path("text.npy").write_text("0 0\n")
    with pytest.raises(Disconnected, match=says) as caught:
        make(port).connect(FAR_NS)
    assert "\n" not in str(caught.value)
