"""Motors that are not as robot.toml says: one line, exit code 2, nothing written, torque never on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_runtime import cli
from tests.drivers.motors.dynamixel_rig import DynamixelRig
from tests.drivers.motors.feetech_rig import FeetechRig
from tests.drivers.motors.servo_rig import ServoRig
from tests.robot_toml import ROBOT

Make = Callable[..., ServoRig]


@pytest.fixture(params=[FeetechRig, DynamixelRig], ids=["feetech", "dynamixel"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes the servos of the robot in tmp_path/robot.toml."""
    kind: type[ServoRig] = request.param
    made: list[ServoRig] = []

    def make(ids: tuple[int, ...] = (), baud: int = 1_000_000) -> ServoRig:
        text = 'calibration = "found"\n' + ROBOT.replace('kind = "feetech"', f'kind = "{request.node.callspec.id}"')
        text = text.replace('port = "./arm"', f'port = "./arm"\nbaud = {baud}')
        (tmp_path / "robot.toml").write_text(text.replace("\nid = ", f'\nmodel = "{kind.MODEL}"\nid = '))
        made.append(kind(tmp_path, ids=ids))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


def refusal(rig: ServoRig, capsys: pytest.CaptureFixture[str], folder: Path) -> str:
    """What `edge calibrate joints` says."""
    assert cli.main(["calibrate", "joints", str(folder / "robot.toml")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("edge: bus arm")
    assert err.count("\n") == 1
    assert not rig.joints.torque_on.any()
    assert not (folder / "found").exists()
    return err


def test_two_servos_with_the_same_id(make: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rig = make(ids=(1, 2, 3, 3, 5, 6))
    assert "joint 'elbow_flex' (id 3): two motors have this id" in refusal(rig, capsys, tmp_path)


def test_a_wrong_baud_rate(make: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = refusal(make(baud=57_600), capsys, tmp_path)
    assert "no motor answers at 57600 bit/s, but one does at 1000000" in said


def test_a_servo_of_another_model(make: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rig = make()
    rig.put(3, MODEL=rig.BUS.FAMILY.models[rig.OTHER_MODEL])
    said = refusal(rig, capsys, tmp_path)
    assert f"joint 'wrist_flex' (id 4): is model {rig.get(3, 'MODEL')} ({rig.OTHER_MODEL}), not" in said


def test_no_supply(make: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rig = make()
    rig.supply(False)
    assert "though the port is there: is their supply on" in refusal(rig, capsys, tmp_path)


def test_no_port(make: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rig = make()
    rig.unplug()
    assert "there is no such port" in refusal(rig, capsys, tmp_path)
