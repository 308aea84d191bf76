"""robot.toml: what is possible loads; anything else is one line: file, key, what is wrong, the nearest name."""

from __future__ import annotations

import copy
import math
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_runtime import config
from edge_runtime.deploy import places
from edge_runtime.errors import ConfigError
from tests.robot_toml import NAMES, ROBOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def write(folder: Path, text: str) -> Path:
    path = folder / "robot.toml"
    path.write_text(text)
    return path


def error_of(folder: Path, text: str) -> str:
    """The one line that loading `text` gives, without the file's name in front, which must be there."""
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert line.isprintable(), line
    return line.removeprefix(f"{path}: ")


def test_a_valid_file_loads(tmp_path: Path) -> None:
    robot = config.load(write(tmp_path, ROBOT))
    assert tuple(j.name for j in robot.joints) == NAMES
    assert robot.episode.timeout_s == 12.5
    assert robot.control.priority == 50
    assert robot.policy.on_malformed == ""


def test_paths_are_relative_to_the_file_where_they_say_so(tmp_path: Path) -> None:
    text = ROBOT.replace('device = "./camera-wrist.sock"', 'device = "0"')
    robot = config.load(write(tmp_path, text))
    assert robot.policy.bundle == str(tmp_path / "bundle")
    assert robot.control.socket == str(tmp_path / "control.sock")
    assert robot.black_box.folder == str(tmp_path / "black-box")
    assert robot.buses[0].port == str(tmp_path / "arm")
    assert robot.cameras[0].device == str(tmp_path / "camera-base.sock")
    assert robot.cameras[1].device == "0"


def test_a_bundle_beside_the_folder_has_the_shorter_name_where_that_is_the_same_place(tmp_path: Path) -> None:
    text = ROBOT.replace('bundle = "bundle"', 'bundle = "../demo/bundle"')
    (tmp_path / "runs").mkdir()
    assert config.load(write(tmp_path / "runs", text)).policy.bundle == str(tmp_path / "demo" / "bundle")
    (tmp_path / "far" / "runs").mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "far" / "runs")
    robot = config.load(write(tmp_path / "linked", text))
    assert robot.policy.bundle == str(tmp_path / "linked" / ".." / "demo" / "bundle")


@pytest.mark.parametrize("spelling", ["trt_rtx", "trt-rtx"])
def test_a_backend_has_two_spellings(tmp_path: Path, spelling: str) -> None:
    text = ROBOT.replace('bundle = "bundle"', f'bundle = "bundle"\nbackend = "{spelling}"')
    assert config.load(write(tmp_path, text)).policy.backend == spelling


def test_no_folder_is_no_black_box(tmp_path: Path) -> None:
    robot = config.load(write(tmp_path, ROBOT + '\n[black_box]\nfolder = ""\n'))
    assert robot.black_box.folder == ""


def test_an_absolute_path_stays(tmp_path: Path) -> None:
    robot = config.load(write(tmp_path, ROBOT.replace('bundle = "bundle"', 'bundle = "/srv/b"')))
    assert robot.policy.bundle == "/srv/b"


def test_degrees_become_radians(tmp_path: Path) -> None:
    text = ROBOT.replace('name = "elbow_flex"', 'name = "elbow_flex"\nunits = "deg"')
    joint = config.load(write(tmp_path, text)).joints[2]
    assert joint.position_rad == pytest.approx((math.radians(-1.5), math.radians(1.5)))
    assert joint.velocity_rad_s == pytest.approx(math.radians(2))
    assert joint.acceleration_rad_s2 == pytest.approx(math.radians(10))
    assert joint.jerk_rad_s3 == pytest.approx(math.radians(100))
    assert joint.start_rad == pytest.approx(math.radians(0.1))
    assert joint.park_rad == 0.0


JOINT_2 = "buses[0].joints[2]"
SPOILED = [
    (
        'name = "elbow_flex"',
        'name = "elbow_flex"\nvelocty = 1',
        f'{JOINT_2}.velocty: unknown key, did you mean "velocity"?',
    ),
    ("[episode]", "[epsiode]", 'epsiode: unknown key, did you mean "episode"?'),
    ("[policy]", "[policy]\nzzz = 1", "policy.zzz: unknown key; known: actions, autostart, backend, bundle"),
    ("[policy]", '[policy]\non_malformed = "pat"', 'policy.on_malformed: there is no "pat", did you mean "pad"?'),
    ('bundle = "bundle"', "", "policy: bundle is missing"),
    ('name = "bench arm"', "", "name is missing"),
    ("rate_hz = 100", 'rate_hz = "fast"', "control.rate_hz: expected float, got str"),
    ("rate_hz = 100", "rate_hz = 0", "control.rate_hz: expected float >= 1.0, got 0"),
    ("rate_hz = 100", "rate_hz = 5000", "control.rate_hz: expected float <= 1000.0, got 5000"),
    ("rate_hz = 100", "rate_hz = true", "control.rate_hz: expected float, got bool"),
    ("rate_hz = 100", "rate_hz = 1979-05-27", "control.rate_hz: expected float, got date"),
    ("rate_hz = 100", "priority = 100", "control.priority: expected int <= 99, got 100"),
    ("rate_hz = 100", 'socket_mode = "0888"', 'control.socket_mode: must be an octal file mode such as "0600", not '),
    (
        "rate_hz = 100",
        'socket_mode = "600\\n"',
        'control.socket_mode: must be an octal file mode such as "0600", not "600?"',
    ),
    ("rate_hz = 100", f'socket = "{"s" * 120}"', "control.socket: "),
    ("frame_age_ms = 200.0", "frame_age_ms = 0", "deadlines.frame_age_ms: expected float > 0.0, got 0"),
    (
        "frame_age_ms = 200.0",
        "stuck_ms = 20",
        "deadlines.stuck_ms: 20 would end a healthy process: must be more than two",
    ),
    (
        "frame_age_ms = 200.0",
        "inference_ms = 400\ncoast_ms = 600\nhung_ms = 1000",
        "deadlines.hung_ms: 1000 would end a process that only coasts: must be more than inference_ms and coast_ms "
        "together, 1000 ms",
    ),
    ("frame_age_ms = 200.0", "inference_ms = 9000", "deadlines.hung_ms: 10000 would end a process that only coasts: "),
    ("frame_age_ms = 200.0", "hung_ms = 0", "deadlines.hung_ms: expected float > 0.0, got 0"),
    ("timeout_s = 12.5", "timeout_s = nan", "episode.timeout_s: "),
    ("timeout_s = 12.5", "timeout_s = inf", "episode.timeout_s: expected float <= 86400.0, got inf"),
    (
        'name = "elbow_flex"',
        'name = "elbow flex"',
        f'{JOINT_2}.name: must be letters, digits, "_", "." and "-", not "elbow fl',
    ),
    (
        'name = "elbow_flex"',
        'name = "gripper"',
        "buses[0].joints[5].name: gripper is already the name of buses[0].joints[2]",
    ),
    ("id = 3", "id = 2", "buses[0].joints[2].id: 2 is already that of buses[0].joints[1].id"),
    ("id = 3", "id = 254", f"{JOINT_2}.id: expected int <= 253, got 254"),
    ("id = 3", "id = 3\nfollowing = -0.1", f"{JOINT_2}.following: expected float >= 0.0, got -0.1"),
    ("id = 3", "id = 3\ncurrent_a = -1.0", f"{JOINT_2}.current_a: expected float >= 0.0, got -1.0"),
    ("id = 3", "id = 3\ntorque_limit = 0", f"{JOINT_2}.torque_limit: expected float >= 0.01, got 0"),
    ("id = 3", "id = 3\ntorque_limit = 1.1", f"{JOINT_2}.torque_limit: expected float <= 1.0, got 1.1"),
    ("id = 3", "id = 3\ngrip = true", f"{JOINT_2}.grip: pushing on with all its torque it would overload: give it a"),
    ("frame_age_ms = 200.0", "stall_ms = 0", "deadlines.stall_ms: expected float > 0.0, got 0"),
    ("frame_age_ms = 200.0", "overload_ms = 0", "deadlines.overload_ms: expected float > 0.0, got 0"),
    ("id = 3", "id = 3.5", f"{JOINT_2}.id: expected int, got float"),
    ("id = 3", 'id = 3\nunits = "degrees"', f'{JOINT_2}.units: there is no "degrees", did you mean "deg"?'),
    ("[policy]", "[motion]\nseam = true\n\n[policy]", "motion.seam: expected str, got bool"),
    ("id = 3", "id = 3\ndirection = 2", f"{JOINT_2}.direction: there is no 2; known: -1, 1"),
    ('device = "./camera-wrist.sock"', 'device = "./camera-base.sock"', "cameras[1].device: sim "),
    ('name = "wrist"', 'name = "base"', "cameras[1].name: base is already that of cameras[0].name"),
    (
        'name = "wrist"\nkind = "sim"',
        'name = "wrist"\nkind = "smi"',
        'cameras[1].kind: there is no "smi", did you mean "sim"?',
    ),
    ('kind = "feetech"', 'kind = "fetech"', 'buses[0].kind: there is no "fetech", did you mean "feetech"?'),
    (
        'bundle = "bundle"',
        'bundle = "bundle"\nbackend = "orrt"',
        'policy.backend: there is no "orrt", did you mean "ort"?',
    ),
    (
        'bundle = "bundle"',
        'bundle = "bundle"\nbackend = "torch"',
        'policy.backend: "torch" is no robot\'s backend, only edge verify takes it; there are ort, ort-cuda, trt, '
        "trt-rtx",
    ),
    (
        'instruction = "pick up the red cup"',
        "autostart = true",
        "policy.autostart: moving at power-on needs policy.instruction",
    ),
    ('bundle = "bundle"', 'bundle = "bun\\u0000dle"', "policy.bundle: must be one line of printable text"),
    ('bundle = "bundle"', "bundle =", "not TOML: "),
    ("[policy]", '["unknown\\nkey"]\n[policy]', "unknown?key: unknown key"),
]


@pytest.mark.parametrize(("good", "bad", "message"), SPOILED)
def test_one_fault_is_one_line_that_names_it(tmp_path: Path, good: str, bad: str, message: str) -> None:
    assert good in ROBOT
    assert error_of(tmp_path, ROBOT.replace(good, bad, 1)).startswith(message)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("position", "[1.5, -1.5]", "position: the lowest, 1.5, must be below the highest, -1.5"),
        ("position", "[1.5, 1.5]", "position: the lowest, 1.5, must be below the highest, 1.5"),
        ("position", "[1.5]", "position: expected array of length 2, got 1"),
        ("position", "[-inf, inf]", "position[0]: must be a finite number, got -inf"),
        ("velocity", "0", "velocity: expected float >= 0.001, got 0"),
        ("velocity", "nan", "velocity: expected float >= 0.001, got nan"),
        ("jerk", "-1.0", "jerk: expected float >= 0.001, got -1.0"),
        ("jerk", "inf", "jerk: must be a finite number, got inf"),
        ("start", "1.6", "start: 1.6 is outside position [-1.5, 1.5] rad"),
        ("park", "-2", "park: -2 is outside position [-1.5, 1.5] rad"),
    ],
)
def test_impossible_figures_of_a_joint(tmp_path: Path, field: str, value: str, message: str) -> None:
    lines = [f"{field} = {value}" if line.startswith(f"{field} =") else line for line in ROBOT.splitlines()]
    assert error_of(tmp_path, "\n".join(lines)) == f"buses[0].joints[0].{message}"


def test_start_and_park_may_stand_on_the_limits(tmp_path: Path) -> None:
    text = ROBOT.replace("start = 0.1", "start = 1.5").replace("park = 0.0", "park = -1.5")
    assert config.load(write(tmp_path, text)).joints[0].start == 1.5


def test_a_robot_without_joints_is_refused(tmp_path: Path) -> None:
    assert error_of(tmp_path, ROBOT[: ROBOT.index("[[buses.joints]]")]).startswith("buses[0]: joints is missing")


def test_the_same_joint_name_in_two_groups_is_fine(tmp_path: Path) -> None:
    second = ROBOT[ROBOT.index("[[buses]]") :].replace('name = "arm"', 'name = "left"').replace("./arm", "./left")
    robot = config.load(write(tmp_path, ROBOT + second))
    assert len(robot.joints) == 12


def test_two_buses_on_one_port_are_refused(tmp_path: Path) -> None:
    second = ROBOT[ROBOT.index("[[buses]]") :].replace('name = "arm"', 'name = "left"')
    port = f"{tmp_path}/arm"
    assert error_of(tmp_path, ROBOT + second) == f"buses[1].port: {port} is already that of buses[0].port"


def test_a_port_is_the_same_port_however_it_is_spelt(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("arm")
    second = ROBOT[ROBOT.index("[[buses]]") :].replace('name = "arm"', 'name = "left"')
    for spelling in (f"../{tmp_path.name}/arm", f"{tmp_path}//arm", "./link"):
        said = error_of(tmp_path, ROBOT + second.replace("./arm", spelling))
        assert said.startswith("buses[1].port: ")
        assert said.endswith(" is already that of buses[0].port")
        said = error_of(tmp_path, ROBOT + LEADER.replace("./leader", spelling))
        assert said.startswith("leader.port: ")
        assert said.endswith(" is already that of buses[0].port")


def test_two_buses_of_a_driver_that_has_no_port_are_fine(tmp_path: Path) -> None:
    null = ROBOT.replace('kind = "feetech"\nport = "./arm"', 'kind = "null"\nport = "follow"')
    second = null[null.index("[[buses]]") :].replace('name = "arm"', 'name = "left"')
    assert len(config.load(write(tmp_path, null + second)).buses) == 2


LEADER = """
[leader]
kind = "feetech"
port = "./leader"
joints = [{ id = 1 }, { id = 2 }, { id = 3, scale = -1 }, { id = 4 }, { id = 5 }, { id = 6, scale = 1.5 }]
"""
PAD = """
[gamepad]
device = "/dev/input/by-id/pad"
axes = [{ axis = "ABS_X", joint = "shoulder_pan", speed = 0.8 }, { axis = "ABS_Y", joint = "gripper", speed = -1 }]
"""
BUTTON = """
[[estops]]
name = "left"
kind = "button"
device = "./event0"
input = "BTN_SOUTH"
"""


def test_a_persons_hand_and_buttons(tmp_path: Path) -> None:
    robot = config.load(write(tmp_path, ROBOT + LEADER + BUTTON))
    assert robot.leader is not None
    assert robot.leader.port == str(tmp_path / "leader")
    assert [joint.scale for joint in robot.leader.joints] == [1.0, 1.0, -1.0, 1.0, 1.0, 1.5]
    assert robot.estops[0].device == str(tmp_path / "event0")
    assert config.load(write(tmp_path, ROBOT + PAD)).gamepad is not None


@pytest.mark.parametrize(
    ("text", "good", "bad", "message"),
    [
        (LEADER, "port =", "prot =", 'leader.prot: unknown key, did you mean "port"?'),
        (LEADER, "scale = -1", "scael = -1", 'leader.joints[2].scael: unknown key, did you mean "scale"?'),
        (LEADER, "scale = -1", "scale = 0", "leader.joints[2].scale: 0 would never move the joint"),
        (LEADER, "scale = -1", "scale = 11", "leader.joints[2].scale: expected float <= 10.0, got 11"),
        (LEADER, "{ id = 1 }, ", "", "leader.joints: the robot has 6 joints and its leader 5"),
        (LEADER, "id = 2", "id = 1", "leader.joints[1].id: 1 is already that of leader.joints[0].id"),
        (LEADER, '"feetech"', '"feetec"', 'leader.kind: "feetec" is no kind of leader, only dynamixel and feetech are'),
        (LEADER, '"feetech"', '"damiao"', 'leader.kind: "damiao" is no kind of leader, only dynamixel and feetech are'),
        (LEADER, "./leader", "./arm", "leader.port: "),
        (LEADER + PAD, "", "", "gamepad: the arm follows one hand, and there is a leader"),
        (PAD, "shoulder_pan", "shoulder_pam", "gamepad.axes[0].joint: there is no joint shoulder_pam, did you mean "),
        (PAD, '"ABS_Y"', '"ABS_X"', "gamepad.axes[1].axis: ABS_X is already that of gamepad.axes[0].axis"),
        (PAD, '"gripper"', '"shoulder_pan"', "gamepad.axes[1].joint: shoulder_pan is already that of gamepad.axes[0]"),
        (PAD, "speed = -1", "speed = nan", "gamepad.axes[1].speed: "),
        (PAD, "speed = -1", "speed = 0", "gamepad.axes[1].speed: 0 would never move the joint"),
        (BUTTON, '"button"', '"buton"', 'estops[0].kind: there is no "buton", did you mean "button"?'),
        (BUTTON + BUTTON, "", "", "estops[1].name: left is already that of estops[0].name"),
    ],
)
def test_a_hand_or_a_button_that_cannot_be(tmp_path: Path, text: str, good: str, bad: str, message: str) -> None:
    assert good in text
    assert error_of(tmp_path, ROBOT + text.replace(good, bad, 1)).startswith(message)


def test_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    assert "line 2" in error_of(tmp_path, 'name = "x"\npolicy = = 3\n')


def test_bytes_that_are_no_text_name_their_line(tmp_path: Path) -> None:
    path = tmp_path / "robot.toml"
    path.write_bytes(b'name = "x"\n# \xff\n')
    with pytest.raises(ConfigError, match="line 2: not UTF-8 text"):
        config.load(path)


def test_an_absent_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        config.load(tmp_path / "nowhere.toml")


def test_whoever_may_not_command_a_robot_is_told_who_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(ConfigError) as caught:
        config.load(places.ROBOT)
    assert str(caught.value) == (
        "/etc/edge-runtime/robot.toml: cannot be read: Permission denied: "
        "only members of the group edge may command this robot"
    )
    with pytest.raises(ConfigError, match=r"Permission denied$"):
        config.load(tmp_path / "robot.toml")


def test_the_schema_describes_every_key() -> None:
    definitions = config.schema()["$defs"]
    assert set(definitions) == {
        "BlackBox",
        "Bus",
        "Camera",
        "Control",
        "Deadlines",
        "Episode",
        "Estop",
        "Gamepad",
        "GamepadAxis",
        "Joint",
        "Kinematics",
        "Leader",
        "LeaderJoint",
        "Motion",
        "Policy",
        "Robot",
        "Workspace",
    }
    for name, definition in definitions.items():
        assert definition["additionalProperties"] is False
        for key, value in definition["properties"].items():
            assert value.get("description"), f"{name}.{key} has no description"


hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

DOCUMENT: dict[str, Any] = tomllib.loads(ROBOT)
LEAF = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(["", "rad", "deg", "sim", "feetech", "hold", "0600", "\n", "\x00", "/", "..", 10**400]),
)
VALUE = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document that can be overwritten."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, v in inner for place in _places(v, (*path, key))]


@hypothesis.given(
    changes=st.lists(st.tuples(st.sampled_from(_places(DOCUMENT)), VALUE, st.booleans()), min_size=1, max_size=4)
)
@hypothesis.settings(max_examples=300)
def test_a_mutated_document_is_a_robot_or_one_line(changes: list[tuple[tuple[Any, ...], Any, bool]]) -> None:
    from edge_runtime import config_check

    document = copy.deepcopy(DOCUMENT)
    for path, value, delete in changes:
        try:
            holder = document
            for key in path[:-1]:
                holder = holder[key]
            if delete:
                del holder[path[-1]]
            else:
                holder[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change has removed the place
    try:
        robot = config_check.build(document, Path("/robot"))
    except ConfigError as error:
        line = str(error)
        assert line.isprintable()
    else:
        assert msgspec.convert(msgspec.to_builtins(robot), config.Robot) == robot


@hypothesis.given(text=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_robot_or_one_line(text: bytes) -> None:
    from edge_runtime import config_check

    with pytest.raises(ConfigError) as caught:
        config_check.parse(text, Path("/robot"))
    assert str(caught.value).isprintable()


def test_deep_nesting_is_one_line() -> None:
    from edge_runtime import config_check

    with pytest.raises(ConfigError):
        config_check.parse(b"a = " + b"[" * 20_000, Path("/robot"))
