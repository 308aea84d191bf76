"""Joints whose servos were assembled anyhow: a person guided through it recovers every zero to one encoder step."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from calibration import joints
from calibration.person import Table
from drivers.errors import DriverError
from drivers.motors import dynamixel, feetech
from drivers.motors.base import BusSettings, MotorBus, MotorSettings
from drivers.sim.adapter import Adapter
from drivers.sim.device import Reply
from drivers.sim.dynamixel_device import DynamixelDevice
from drivers.sim.feetech_device import FeetechDevice
from drivers.sim.horns import Horns
from drivers.sim.ports import PseudoTerminal
from edge_runtime import calibration_files as files
from edge_runtime.calibration_files import BusCalibration
from edge_runtime.errors import ConfigError
from tests.drivers.fake_joints import FakeJoints
from tests.drivers.motors.contract import soon

KINDS = {
    "feetech": (feetech.Bus, FeetechDevice, "sts3215"),
    "dynamixel": (dynamixel.Bus, DynamixelDevice, "xm430-w350"),
}
HORNS = ((137, 1), (-250, -1), (601, -1))
"""Counts from the encoder's middle at angle zero, and direction."""
POSE_RAD = (0.0, 0.3, -0.5)
STOPS_RAD = ((-1.2, 1.0), (-0.4, 1.5), (-2.0, 0.6))
NAMES = ("pan", "lift", "grip")


class GaveUp(Exception):
    """The person has."""


class Arm:
    """Three joints with such servos behind a port, and whoever asks for them."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.joints = FakeJoints(3)
        horns = Horns(self.joints)
        for index, (steps, direction) in enumerate(HORNS):
            horns.set(index, steps, direction)
        self.bus_type, device_type, self.model = KINDS[kind]
        self.device = device_type(horns)
        self.folder = folder
        self.tremor_rad = 0.0
        """By which the second joint moves with every question."""
        self._lock = threading.Lock()
        self._adapter = Adapter(PseudoTerminal(folder / "port"), self._feed, self.device.idle, usb_latency_ns=0)
        self.path = folder / "bus-arm.json"

    def _feed(self, data: bytes) -> list[Reply]:
        with self._lock:
            self.joints.position_rad[1] += self.tremor_rad
            return self.device.feed(data)

    def settings(self) -> BusSettings:
        motors = tuple(
            MotorSettings(name, i + 1, self.model, 2048, 1, STOPS_RAD[i], "hold") for i, name in enumerate(NAMES)
        )
        return BusSettings("arm", str(self.folder / "port"), 1_000_000, motors)

    def calibrated(self, found: BusCalibration) -> MotorBus:
        """The arm as robot.toml and the file describe it, connected."""
        motors = tuple(
            MotorSettings(m.joint, m.id, m.model, m.zero_step, m.direction, m.range_rad, "hold") for m in found.motors
        )
        bus = self.bus_type(BusSettings("arm", str(self.folder / "port"), 1_000_000, motors))
        bus.connect(soon())
        return bus

    def guided(self, person: Person, restart: bool = False) -> BusCalibration:
        bus = self.bus_type(joints.encoder_settings(self.settings()))
        bus.connect(soon())
        try:
            return joints.Guide(bus, POSE_RAD, person, self.path, "1a86:55d3 X").run(restart=restart)
        finally:
            bus.disconnect()

    def close(self) -> None:
        self._adapter.close()


class Person:
    """Moves the arm as asked. Leaves at the first words that contain `leaves`; `lazy` ones do too little at first."""

    def __init__(self, arm: Arm, leaves: str = "", lazy: bool = False) -> None:
        self.arm, self.leaves, self.lazy = arm, leaves, lazy
        self.heard: list[str] = []
        self.shown: list[Table] = []

    def tell(self, words: str) -> None:
        self.heard.append(words)

    def agree(self, question: str) -> None:
        assert "torque goes off" in question
        self._hear(question)

    def wait(self, words: str, show: Callable[[], Table], done: Callable[[], bool] = lambda: False) -> None:
        self._hear(words)
        at = self.arm.joints.position_rad
        self.shown.append(show())
        if "reference pose" in words:
            at[:] = POSE_RAD
        elif "positive direction" in words or "move it at least" in words:
            moved = next(i for i, name in enumerate(NAMES) if name in words.split(" ")[:2])
            at[:] = POSE_RAD
            at[moved] += 0.05 if self.lazy and "at least" not in words else 0.2
        else:
            for index, (low, high) in enumerate(STOPS_RAD):
                if self.lazy and index == 1 and "hardly" not in words:
                    continue
                for angle in np.linspace(low, high, 8):
                    at[index] = angle
                    show()
        self.shown.append(show())

    def _hear(self, words: str) -> None:
        self.heard.append(words)
        if self.leaves and self.leaves in words:
            raise GaveUp


@pytest.fixture(params=list(KINDS))
def arm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Arm]:
    made = Arm(tmp_path, request.param)
    yield made
    made.close()


def angles_agree(arm: Arm, found: BusCalibration) -> None:
    """What a bus with this calibration reads is where the joints are, to one encoder step, everywhere."""
    bus = arm.calibrated(found)
    for share in (0.0, 0.3, 0.7, 1.0):
        arm.joints.position_rad[:] = [low + share * (high - low) for low, high in STOPS_RAD]
        bus.read_state(soon())
        np.testing.assert_allclose(bus.state.position_rad, arm.joints.position_rad, atol=1.01 * joints.STEP_RAD)
    bus.disconnect()


def test_zero_direction_and_range_are_recovered(arm: Arm) -> None:
    arm.joints.torque_on[:] = True
    person = Person(arm)
    found = arm.guided(person)
    assert not arm.joints.torque_on.any()
    assert files.read(arm.path, BusCalibration) == found
    assert [m.direction for m in found.motors] == [direction for _, direction in HORNS]
    np.testing.assert_allclose([m.range_rad for m in found.motors], STOPS_RAD, atol=2 * joints.STEP_RAD)
    angles_agree(arm, found)
    assert [m.joint for m in found.motors] == list(NAMES)
    assert found.adapter == "1a86:55d3 X"
    assert [path.name for path in arm.folder.iterdir() if path.name != "port"] == ["bus-arm.json"]
    assert person.shown[-1].columns == ("joint", "encoder", "lowest", "highest")


def test_what_is_not_done_properly_is_asked_for_again(arm: Arm) -> None:
    person = Person(arm, lazy=True)
    angles_agree(arm, arm.guided(person))
    assert any("pan has moved 2.9°: move it at least 5°" in words for words in person.heard)
    assert any("lift hardly moved" in words for words in person.heard)


def test_a_joint_that_is_not_held_still_is_measured_again(arm: Arm) -> None:
    class Shaky(Person):
        def wait(self, words: str, show: Callable[[], Table], done: Callable[[], bool] = lambda: False) -> None:
            super().wait(words, show, done)
            self.arm.tremor_rad = 0.001 if words.startswith("hold every") else 0.0

    person = Shaky(arm)
    angles_agree(arm, arm.guided(person))
    assert any(words.startswith("lift moved meanwhile: hold every joint") for words in person.heard)


@pytest.mark.parametrize("leaves", ["torque goes off", "reference pose", "move lift", "whole range"])
def test_a_person_who_leaves_finds_what_was_done(arm: Arm, leaves: str) -> None:
    with pytest.raises(GaveUp):
        arm.guided(Person(arm, leaves))
    assert not arm.path.exists()
    again = Person(arm)
    found = arm.guided(again)
    angles_agree(arm, found)
    asked = [words for words in again.heard if "positive direction" in words]
    done = {"torque goes off": 0, "reference pose": 0, "move lift": 1, "whole range": 3}[leaves]
    assert len(asked) == 3 - done
    assert any("going on" in words for words in again.heard) == (done > 0)


def test_restart_forgets_and_so_does_another_arm(arm: Arm) -> None:
    for forgets in ("restart", "another arm"):
        with pytest.raises(GaveUp):
            arm.guided(Person(arm, "whole range"))
        if forgets == "another arm":
            bus = arm.bus_type(joints.encoder_settings(arm.settings()))
            bus.connect(soon())
            arm.joints.position_rad[0] = POSE_RAD[0] + 0.1
            bus.center(0, soon())
            bus.disconnect()
        person = Person(arm)
        angles_agree(arm, arm.guided(person, restart=forgets == "restart"))
        assert any("reference pose" in words for words in person.heard)
        arm.path.unlink()


def test_an_encoder_that_wraps_within_the_range_is_refused(tmp_path: Path) -> None:
    class Twister(Person):
        def wait(self, words: str, show: Callable[[], Table], done: Callable[[], bool] = lambda: False) -> None:
            super().wait(words, show, done)
            if "whole range" in words:
                for angle in np.linspace(POSE_RAD[0], POSE_RAD[0] + 1.1 * math.pi, 20):
                    self.arm.joints.position_rad[0] = angle
                    show()

    arm = Arm(tmp_path, "feetech")
    with pytest.raises(DriverError, match="the encoder of pan wraps within its range"):
        arm.guided(Twister(arm))
    assert not arm.path.exists()
    arm.close()


def test_a_damaged_note_of_an_earlier_try_is_one_line(arm: Arm) -> None:
    arm.path.with_name("bus-arm.json.partial").write_text("{")
    with pytest.raises(ConfigError, match=r"bus-arm\.json\.partial: "):
        arm.guided(Person(arm))
    angles_agree(arm, arm.guided(Person(arm), restart=True))
