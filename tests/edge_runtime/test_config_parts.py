"""`edge config --check` says good of what this machine can run, and of anything else what is wrong and where."""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib import resources
from pathlib import Path

import pytest

from edge_runtime import cli, config_parts
from edge_runtime.errors import ConfigError
from tests.edge_runtime.calibrations import BUS, keep, robot_toml
from tests.edge_runtime.test_config import BUTTON, LEADER, PAD, write
from tests.edge_runtime.test_damiao_robot import CAN
from tests.robot_toml import ROBOT

needs_can = pytest.mark.skipif(importlib.util.find_spec("can") is None, reason="python-can is not installed")
needs_gpiod = pytest.mark.skipif(importlib.util.find_spec("gpiod") is None, reason="gpiod is not installed")

GPIO = BUTTON.replace('"button"', '"gpio"').replace("BTN_SOUTH", "17:hgih")
CAMERA = 'kind = "sim"\ndevice = "./camera-base.sock"'
DYNAMIXEL = ROBOT.replace('"feetech"', '"dynamixel"').replace("velocity = 2.0", 'velocity = 2.0\nmodel = "xm430-w350"')
SPOILED = [
    pytest.param(
        ROBOT.replace("id = 3", 'id = 3\nmodel = "sts3251"'),
        "buses[0]: bus arm: joint 'elbow_flex' (id 3): there is no feetech motor 'sts3251', did you mean \"sts",
        id="model misspelt",
    ),
    pytest.param(
        DYNAMIXEL.replace('"xm430-w350"', '"XM430-W350"', 1),
        "buses[0]: bus arm: joint 'shoulder_pan' (id 1): there is no dynamixel motor 'XM430-W350', "
        'did you mean "xm430-w350"?',
        id="model as printed on it",
    ),
    pytest.param(
        ROBOT.replace('"feetech"', '"dynamixel"'),
        "buses[0]: bus arm: joint 'shoulder_pan' (id 1): there is no dynamixel motor 'sts3215'; known: xc330-m181, ",
        id="model of another protocol",
    ),
    pytest.param(
        ROBOT.replace("id = 3", "id = 3\nstiffness = 2.0"),
        "buses[0]: bus arm: joint 'elbow_flex' (id 3): feetech motors take no stiffness: leave it out",
        id="gain",
    ),
    pytest.param(
        ROBOT.replace("position = [-1.5, 1.5]", "position = [-9.6, 9.6]", 1),
        "buses[0]: bus arm: joint 'shoulder_pan' (id 1): its limits are steps -4210 to 8306 and its encoder has 0 to",
        id="beyond the encoder",
    ),
    pytest.param(
        ROBOT.replace('port = "./arm"', 'port = "./arm"\nbaud = 4_500_000'),
        "buses[0]: bus arm: no feetech motor runs at 4500000 bit/s, did you mean 1000000?",
        id="baud of another protocol",
    ),
    pytest.param(
        CAN.replace("stiffness = 40.0\n", "", 1),
        "buses[0]: bus arm: joint 'shoulder_pan' (id 1): stiffness is 0 and must be above 0",
        id="limp",
        marks=needs_can,
    ),
    pytest.param(
        CAN.replace("id = 3", "id = 16"),
        "buses[0]: bus arm: joint 'elbow_flex' (id 16): a state names its motor in four bits: give it an id from 1",
        id="CAN id",
        marks=needs_can,
    ),
    pytest.param(
        ROBOT.replace(CAMERA, CAMERA + '\nformat = "mjpg"'),
        'cameras[0]: camera base: kind "sim" cannot set format: take that line out',
        id="format",
    ),
    pytest.param(
        ROBOT.replace(CAMERA, CAMERA + "\nexposure_ms = 5"),
        'cameras[0]: camera base: kind "sim" cannot set exposure_ms: take that line out',
        id="exposure",
    ),
    pytest.param(
        ROBOT.replace(CAMERA, 'kind = "images"\ndevice = "stack.npy?lop"'),
        'cameras[0]: camera base: stack.npy?lop: "?lop" is unknown, only "?loop" can stand there',
        id="pictures",
    ),
    pytest.param(
        ROBOT.replace('kind = "feetech"\nport = "./arm"', 'kind = "null"\nport = "folow"'),
        'buses[0]: bus arm: port \'folow\' is neither "follow" nor "FILE.npy@HZ"',
        id="null port",
    ),
    pytest.param(
        ROBOT.replace(CAMERA, 'kind = "gstreamer"\ndevice = "/dev/video0"'),
        'cameras[0]: camera base: "/dev/video0" is none of csi:NUMBER, rtsp://…, "pipeline: …"',
        id="gstreamer's device",
    ),
    pytest.param(ROBOT + GPIO, "estops[0]: e-stop left on ", id="line", marks=needs_gpiod),
    pytest.param(
        ROBOT + BUTTON.replace("BTN_SOUTH", "KEY_SPAEC"),
        'estops[0]: e-stop left: there is no key "KEY_SPAEC", did you mean "KEY_SPACE"? (others go by their number, 0 ',
        id="key",
    ),
    pytest.param(
        ROBOT + PAD.replace("ABS_X", "ABS_XX"),
        'gamepad: gamepad on /dev/input/by-id/pad: there is no axis "ABS_XX", did you mean "ABS_X"?',
        id="axis",
    ),
    pytest.param(
        ROBOT + PAD.replace("ABS_X", "ABS_Z"),
        "gamepad: gamepad on /dev/input/by-id/pad: ABS_Z is a trigger on most pads",
        id="trigger",
    ),
    pytest.param(
        ROBOT + LEADER.replace("{ id = 4 }", '{ id = 4, model = "sts3216" }'),
        "leader: bus leader: joint 'wrist_flex' (id 4): there is no feetech motor 'sts3216', did you mean ",
        id="leader's model",
    ),
    pytest.param(
        ROBOT + LEADER.replace("port =", "baud = 1_000\nport ="),
        "leader: bus leader: no feetech motor runs at 1000 bit/s, did you mean 38400?",
        id="leader's baud",
    ),
]


@pytest.mark.parametrize("command", [["config", "--check"], ["run"]], ids=["check", "run"])
@pytest.mark.parametrize(("text", "says"), SPOILED)
def test_what_can_never_run_is_one_line_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], text: str, says: str
) -> None:
    path = write(tmp_path, text)
    assert cli.main([*command, str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"edge: {path}: {says}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("text", [ROBOT, ROBOT + LEADER + BUTTON, ROBOT + PAD, DYNAMIXEL])
def test_what_can_run_is_good_although_no_device_is_here(tmp_path: Path, text: str) -> None:
    assert config_parts.load(write(tmp_path, text))[1] == []


@needs_can
@pytest.mark.parametrize("baud", [800_000, 1_000_000])
def test_a_can_line_may_say_any_bit_rate(tmp_path: Path, baud: int) -> None:
    text = CAN.replace('port = "can0"', f'port = "can0"\nbaud = {baud}')
    assert config_parts.load(write(tmp_path, text))[1] == []


def test_a_library_that_is_missing_here_is_a_fault_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "drivers.estops.gpio", raising=False)
    monkeypatch.setitem(sys.modules, "gpiod", None)
    with pytest.raises(ConfigError, match=r'estops\[0\]: .* needs "gpiod".*pip install .\.\[gpio\]'):
        config_parts.load(write(tmp_path, ROBOT + GPIO))


KINEMATICS = '\n[kinematics]\nurdf = "arm.urdf"\ntip = "grip_point"\ngripper = "gripper"\n'


def test_the_urdf_is_looked_at_whatever_the_policy(tmp_path: Path) -> None:
    path = write(tmp_path, ROBOT + KINEMATICS)
    with pytest.raises(ConfigError, match=r"kinematics: .*arm\.urdf: cannot be read: No such file"):
        config_parts.load(path)
    (tmp_path / "arm.urdf").write_text(resources.files("drivers.sim").joinpath("arm.urdf").read_text())
    assert config_parts.load(path)[1] == []
    write(tmp_path, ROBOT + KINEMATICS.replace("grip_point", "grip_pont"))
    with pytest.raises(ConfigError, match=r'kinematics: .*has no link grip_pont, did you mean "grip_point"\?'):
        config_parts.load(path)


WORKSPACE = f"{KINEMATICS}\n[workspace]\nlow = [0.0, -0.4, 0.1]\nhigh = [0.5, 0.4, 0.6]\n"
INSIDE = ROBOT.replace("start = 0.1", "start = 0.6").replace("park = 0.0", "park = 0.7").replace("[-1.5,", "[0.3,")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (INSIDE + WORKSPACE.replace(KINEMATICS, ""), "workspace: needs [kinematics]: without the arm's shape nobody"),
        (INSIDE + WORKSPACE.replace("0.6]", "0.1]"), "workspace: the lowest z, 0.1, must be below the highest, 0.1"),
        (INSIDE + WORKSPACE.replace("-0.4", "0.5"), "workspace: the lowest y, 0.5, must be below the highest, 0.4"),
        (INSIDE + WORKSPACE.replace("low = [0.0, ", "low = ["), "workspace.low: expected array of length 3, got 2"),
        (INSIDE + WORKSPACE.replace("low = ", "lo = "), 'workspace.lo: unknown key, did you mean "low"?'),
        (
            INSIDE + WORKSPACE.replace("high = [0.5", "high = [0.34"),
            "workspace: with every joint at start the tip is at 0.352, 0.241, 0.355 m: tip above x, where the box ends "
            "at 0.34 m: move workspace.high, or start of the joints",
        ),
        (INSIDE + WORKSPACE.replace(", 0.1]", ", 0.3]"), "workspace: with every joint at park the tip is at 0.3"),
        (
            INSIDE.replace("acceleration = 10.0\njerk = 100.0", "acceleration = 0.01\njerk = 0.01", 1) + WORKSPACE,
            "workspace: a stop of shoulder_pan takes 202 s, and other joints move so quickly meanwhile that",
        ),
        (
            INSIDE.replace('"shoulder_lift"', '"lift"') + WORKSPACE,
            "workspace: {folder}/arm.urdf: joint shoulder_lift moves grip_point, and no joint of the robot is it, did ",
        ),
    ],
)
def test_a_workspace_that_cannot_be_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "arm.urdf").write_text(resources.files("drivers.sim").joinpath("arm.urdf").read_text())
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        config_parts.load(path)
    assert str(caught.value).startswith(f"{path}: {says.format(folder=tmp_path)}")
    assert "\n" not in str(caught.value)


def test_a_way_between_start_and_park_that_leads_out_of_the_workspace_is_said(tmp_path: Path) -> None:
    (tmp_path / "arm.urdf").write_text(resources.files("drivers.sim").joinpath("arm.urdf").read_text())
    assert config_parts.load(write(tmp_path, INSIDE + WORKSPACE))[1] == []
    pan = INSIDE.replace("[0.3,", "[-1.5,", 1).replace("start = 0.6", "start = -0.7", 1)  # forward is farther out
    path = write(tmp_path, pan + WORKSPACE.replace("high = [0.5", "high = [0.36"))
    assert config_parts.load(path)[1] == [
        f"{path}: workspace: tip above x on the straight way between park and start: the arm would not get there"
    ]


def test_a_wall_below_is_named_by_its_own_figure(tmp_path: Path) -> None:
    (tmp_path / "arm.urdf").write_text(resources.files("drivers.sim").joinpath("arm.urdf").read_text())
    path = write(tmp_path, INSIDE + WORKSPACE.replace("[0.0, -0.4, 0.1]", "[0.0, 0.2505, 0.1]"))
    with pytest.raises(
        ConfigError, match=r": tip below y, where the box ends at 0\.2505 m: move workspace\.low, or start "
    ):
        config_parts.load(path)


def test_a_joint_without_room_for_its_longest_stop_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, ROBOT.replace("position = [-1.5, 1.5]", "position = [-0.2, 0.28]", 2))
    notes = config_parts.load(path)[1]
    assert [note.split(" takes ")[0] for note in notes] == [
        f"{path}: {name}: its longest stop" for name in ("shoulder_pan", "shoulder_lift")
    ]
    assert " takes 0.483 rad and its range is 0.480 rad: it can never use its limits: raise " in notes[0]
    write(tmp_path, ROBOT.replace("position = [-1.5, 1.5]", "position = [-0.2, 0.29]"))
    assert config_parts.load(path)[1] == []


def test_what_is_in_force_beyond_the_defaults_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "arm.urdf").write_text(resources.files("drivers.sim").joinpath("arm.urdf").read_text())
    file = tmp_path / "found.json"
    path = write(tmp_path, ROBOT)
    assert cli.main(["config", "--check", str(path), "--json", str(file)]) == 0
    plain = capsys.readouterr().out
    assert not [word for word in ("workspace", "seam", "prefix_every") if word in plain]
    found = json.loads(file.read_text())
    assert (found["workspace"], found["seam"], found["prefix_every"]) == (None, "blend", 1)
    write(
        tmp_path, INSIDE.replace("[policy]", "[policy]\nprefix_every = 3") + WORKSPACE + '\n[motion]\nseam = "none"\n'
    )
    assert cli.main(["config", "--check", str(path), "--json", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        "workspace: x 0 to 0.5, y -0.4 to 0.4, z 0.1 to 0.6 m: every stop of the arm is proved to keep the tip inside"
        in lines
    )
    assert "motion.seam: none" in lines
    assert "policy.prefix_every: one look through the cameras serves 3 inferences" in lines
    found = json.loads(file.read_text())
    assert found["workspace"] == {"low": [0.0, -0.4, 0.1], "high": [0.5, 0.4, 0.6]}
    assert (found["seam"], found["prefix_every"]) == ("none", 3)


def test_what_is_not_measured_yet_is_said_and_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = robot_toml(tmp_path)
    (tmp_path / "bundle").mkdir()
    assert cli.main(["config", "--check", str(path)]) == 0
    out, err = capsys.readouterr()
    assert ": good: " in out
    file = tmp_path / "calibration" / "bus-arm.json"
    assert err == f"edge: {path}: calibration: {file} is not there: not measured yet (edge calibrate joints)\n"


def test_a_calibration_that_belongs_to_nothing_is_said(tmp_path: Path) -> None:
    path, folder = robot_toml(tmp_path), keep(tmp_path, BUS)
    assert config_parts.load(path)[1] == []
    (folder / "bus-arm.json").rename(folder / "bus-arn.json")
    missing, stray = config_parts.load(path)[1]
    assert missing.endswith("bus-arm.json is not there: not measured yet (edge calibrate joints)")
    assert stray.endswith('bus-arn.json belongs to nothing here, did you mean "bus-arm.json"?')
