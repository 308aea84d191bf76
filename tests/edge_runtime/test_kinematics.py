"""Where the joints bring the tip and back, on the simulated arm, whose exact geometry is known, and on one of six."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from drivers.sim import arm as sim
from edge_runtime import config_check
from edge_runtime.config import Joint, Robot
from edge_runtime.errors import ConfigError

pinocchio = pytest.importorskip("pinocchio", reason="kinematics needs pin: pip install '.[kinematics]'")

from edge_runtime.kinematics import NEAR_M, Arm  # noqa: E402
from tests.edge_runtime.sim_arm import robot  # noqa: E402

SIX = """<robot name="six"><link name="l0"/>{links}{joints}<link name="tip"/>
<joint name="end" type="fixed"><parent link="l6"/><child link="tip"/><origin xyz="0.07 0.01 0.08" rpy="0.3 -0.2 0.1"/>
</joint></robot>"""
AXES = ("0 0 1", "0 1 0", "0 1 0", "1 0 0", "0 1 0", "0.6 0 0.8")
PLACES = ("0 0 0.1", "0.02 0 0.1", "0.05 0 0.25", "0.1 0.01 0", "0.12 0 0", "0.05 0 0.02")


def six(folder: Path) -> Robot:
    """An arm of six joints, so that every rotation can be had, with a gripper."""
    joints = "".join(
        f'<joint name="j{k}" type="continuous"><parent link="l{k}"/><child link="l{k + 1}"/>'
        f'<axis xyz="{axis}"/><origin xyz="{place}" rpy="0.1 0.05 {0.1 * k}"/></joint>'
        for k, (axis, place) in enumerate(zip(AXES, PLACES, strict=True))
    )
    links = "".join(f'<link name="l{k + 1}"/>' for k in range(6))
    (folder / "six.urdf").write_text(SIX.format(links=links, joints=joints))
    base = robot(folder)
    turning = [msgspec.structs.replace(base.joints[0], name=f"j{k}", id=k + 1) for k in range(6)]
    gripper = msgspec.structs.replace(base.joints[5], id=7)
    bus = msgspec.structs.replace(base.buses[0], joints=(*turning, gripper))
    shape = msgspec.structs.replace(base.kinematics, urdf=str(folder / "six.urdf"), tip="tip")
    return msgspec.structs.replace(base, buses=(bus,), kinematics=shape)


def within(arm: Arm, rng: np.random.Generator, margin: float = 0.0) -> np.ndarray:
    return rng.uniform(arm.lower_rad + margin, arm.upper_rad - margin)


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    return Arm(robot(tmp_path))


def test_the_tip_is_where_the_simulator_has_it(arm: Arm) -> None:
    rng = np.random.default_rng(1)
    for q in (within(arm, rng) for _ in range(200)):
        pose, truth = arm.pose(q), sim.forward(q)
        assert pose.translation == pytest.approx(truth.tip, abs=1e-9)
        assert pose.rotation == pytest.approx(np.stack([truth.approach, truth.finger, truth.side], axis=1), abs=1e-9)


def test_a_chain_is_what_pinocchio_makes_of_the_whole_file(tmp_path: Path) -> None:
    arm = Arm(six(tmp_path))
    model = pinocchio.buildModelFromUrdf(str(tmp_path / "six.urdf"))
    data, rng = model.createData(), np.random.default_rng(2)
    for q in (within(arm, rng) for _ in range(50)):
        circles = np.stack([np.cos(q), np.sin(q)], axis=1).ravel()  # its continuous joints are points on a circle
        pinocchio.framesForwardKinematics(model, data, circles)
        assert arm.pose(q).isApprox(data.oMf[model.getFrameId("tip")], 1e-9)


@pytest.mark.parametrize("make", [robot, six])
def test_there_and_back(tmp_path: Path, make: object) -> None:
    """From a pose near by, as a policy asks for them, every pose that can be had is found again, to a micrometre."""
    arm, rng = Arm(make(tmp_path)), np.random.default_rng(3)  # type: ignore[operator]
    for _ in range(200):
        goal = within(arm, rng, 0.2)
        q = goal + rng.uniform(-0.15, 0.15, len(goal))
        residual = arm.solve(arm.pose(goal), q)
        assert residual.position_m < 1e-6
        assert residual.rotation_rad < 1e-4
        assert arm.pose(q).translation == pytest.approx(arm.pose(goal).translation, abs=1e-6)


def test_position_goes_before_a_rotation_that_five_joints_cannot_make(arm: Arm) -> None:
    rng = np.random.default_rng(4)
    for _ in range(100):
        q = within(arm, rng, 0.4)
        here = arm.pose(q)
        twisted = pinocchio.exp3(rng.normal(0.0, 0.05, 3)) @ here.rotation
        residual = arm.solve(pinocchio.SE3(twisted, here.translation), q)
        assert residual.position_m < 1e-6 + 3e-3 * residual.rotation_rad


def test_limits_hold_whatever_is_asked(arm: Arm) -> None:
    rng = np.random.default_rng(5)
    for _ in range(100):
        q = rng.uniform(arm.lower_rad - 0.3, arm.upper_rad + 0.3)
        target = pinocchio.SE3(pinocchio.exp3(rng.normal(0.0, 1.0, 3)), rng.uniform(-0.8, 0.8, 3))
        arm.solve(target, q)
        assert (q >= arm.lower_rad).all()
        assert (q <= arm.upper_rad).all()


def test_a_pose_out_of_reach_leads_to_the_nearest(arm: Arm) -> None:
    """Straight up and away: the arm stretches along the line to the target, as far as its elbow lets it."""
    q = np.array([0.2, 0.3, 0.6, 0.3, 0.0])
    shoulder = sim.forward(q).shoulder
    away = np.array([np.cos(0.2), np.sin(0.2), 1.0]) / np.sqrt(2.0)
    residual = arm.solve(pinocchio.SE3(arm.pose(q).rotation, shoulder + 0.7 * away), q)
    assert not residual.reached
    reach = np.linalg.norm(arm.pose(q).translation - shoulder)
    assert q[2] == pytest.approx(0.3, abs=1e-6)  # the elbow is as straight as it gets
    assert residual.position_m == pytest.approx(0.7 - reach, abs=2e-3)


def test_beyond_its_reach_an_arm_does_not_give_up_early(tmp_path: Path) -> None:
    """Targets 30 cm away in any direction: 40 mm are left on average; without the error as damping it was 76 mm."""
    arm, rng = Arm(six(tmp_path)), np.random.default_rng(7)
    left = []
    for _ in range(150):
        q = within(arm, rng)
        here, way = arm.pose(q), rng.normal(size=3)
        target = here.translation + 0.3 * way / np.linalg.norm(way)
        left.append(arm.solve(pinocchio.SE3(here.rotation, target), q).position_m)
    assert np.mean(left) < 0.055


def test_a_joint_at_its_limit_leaves_the_way_to_the_others(tmp_path: Path) -> None:
    """Two joints of five start at a limit, the tip is to go 1 cm in any direction: mostly the others can do that."""
    arm, rng = Arm(six(tmp_path)), np.random.default_rng(8)
    reached = 0
    for _ in range(150):
        q = np.clip(rng.uniform(arm.lower_rad - 1.0, arm.upper_rad + 1.0), arm.lower_rad, arm.upper_rad)
        here, way = arm.pose(q), rng.normal(size=3)
        target = here.translation + 0.01 * way / np.linalg.norm(way)
        reached += arm.solve(pinocchio.SE3(here.rotation, target), q).position_m < 1e-4
    assert reached > 0.7 * 150


def test_steps_stay_small_beside_a_stretched_arm(tmp_path: Path) -> None:
    """With an elbow that can be straight: a millimetre asked for in the direction that is lost moves no joint far."""
    straight = stretchable(tmp_path)
    arm = Arm(straight)
    for bend in (0.0, 1e-6, 1e-3, 0.02):
        q = np.array([0.0, 0.6, bend, bend, 0.0])
        here = arm.pose(q)
        out = here.translation + 0.001 * here.rotation[:, 0]
        before = q.copy()
        residual = arm.solve(pinocchio.SE3(here.rotation, out), q)
        assert np.isfinite(q).all()
        assert np.abs(q - before).max() < 0.1
        assert residual.position_m < 2e-3


def test_a_stretched_arm_comes_back(tmp_path: Path) -> None:
    """Towards the shoulder no joint moves the tip of a straight arm at all: the second try bends it first."""
    arm = Arm(stretchable(tmp_path))
    q = np.array([0.0, 0.6, 0.0, 0.0, 0.0])
    here = arm.pose(q)
    back = here.translation - 0.05 * here.rotation[:, 0]
    assert arm.solve(pinocchio.SE3(here.rotation, back), q).position_m < NEAR_M


def stretchable(folder: Path) -> Robot:
    text = Path(robot(folder).kinematics.urdf).read_text()
    (folder / "straight.urdf").write_text(text.replace('lower="0.3"', 'lower="0"'))
    base = robot(folder)
    elbow = msgspec.structs.replace(base.joints[2], position=(0.0, 2.7))
    bus = msgspec.structs.replace(base.buses[0], joints=(*base.joints[:2], elbow, *base.joints[3:]))
    shape = msgspec.structs.replace(base.kinematics, urdf=str(folder / "straight.urdf"))
    return msgspec.structs.replace(base, buses=(bus,), kinematics=shape)


def changed(base: Robot, index: int, **fields: object) -> Robot:
    joints: list[Joint] = list(base.joints)
    joints[index] = msgspec.structs.replace(joints[index], **fields)
    return msgspec.structs.replace(base, buses=(msgspec.structs.replace(base.buses[0], joints=tuple(joints)),))


def test_a_joint_may_have_another_name_in_the_urdf(tmp_path: Path) -> None:
    base = robot(tmp_path)
    arm = Arm(changed(base, 2, name="elbow", urdf="elbow_flex"))
    assert arm.index.tolist() == [0, 1, 2, 3, 4]


def test_joints_are_the_robots_in_whatever_order_it_has_them(tmp_path: Path) -> None:
    base = robot(tmp_path)
    turned = msgspec.structs.replace(base.buses[0], joints=base.joints[::-1])
    assert Arm(msgspec.structs.replace(base, buses=(turned,))).index.tolist() == [5, 4, 3, 2, 1]


def _two(base: Robot) -> Robot:
    pair = tuple(msgspec.structs.replace(base.buses[0], name=name, port=f"/dev/{name}") for name in ("left", "right"))
    return msgspec.structs.replace(base, buses=pair)


def _shape(base: Robot, **fields: object) -> Robot:
    return msgspec.structs.replace(base, kinematics=msgspec.structs.replace(base.kinematics, **fields))


MISFITS = {
    "name": (
        lambda r: changed(r, 2, name="elbow_flx"),
        'joint elbow_flex moves grip_point, and no joint of the robot is it, did you mean "elbow_flx"?: name it',
    ),
    "more": (lambda r: _shape(r, tip="wrist"), "joint wrist_roll does not move wrist"),
    "tip": (lambda r: _shape(r, tip="grip_pont"), 'has no link grip_pont, did you mean "grip_point"?'),
    "limits": (
        lambda r: changed(r, 1, position=(-1.2, 1.6)),
        "joint shoulder_lift goes from -1.2 to 1.5 rad, position of shoulder_lift in robot.toml from -1.2 to 1.6",
    ),
    "gripper": (
        lambda r: _shape(r, gripper="wrist_roll"),
        "kinematics.gripper: wrist_roll moves grip_point, so it is no gripper",
    ),
    "two arms": (_two, "left.shoulder_pan and right.shoulder_pan are one joint there; a policy in end-effector space"),
    "file": (lambda r: _shape(r, urdf="/nowhere/arm.urdf"), "/nowhere/arm.urdf: cannot be read"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_urdf_of_another_robot_is_one_line(tmp_path: Path, case: str) -> None:
    change, words = MISFITS[case]
    with pytest.raises(ConfigError) as caught:
        Arm(change(robot(tmp_path)))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ('urdf = "arm.urdf"\ntip = "x"', "kinematics.gripper: is missing"),
        ('tip = "x"\ngripper = "gripper"', "kinematics.urdf: is missing"),
        (
            'urdf = "a"\ntip = "x"\ngripper = "griper"',
            'kinematics.gripper: there is no joint griper, did you mean "gripper"?',
        ),
        ('urdf = "a"\ntip = "x"\ngriper = "gripper"', 'kinematics.griper: unknown key, did you mean "gripper"?'),
        ('gripper_open = "high"', 'kinematics.gripper_open: there is no "high", did you mean "highest"?'),
    ],
)
def test_what_robot_toml_can_get_wrong(section: str, words: str) -> None:
    from tests.robot_toml import ROBOT

    text = ROBOT.replace("[control]", f"[kinematics]\n{section}\n\n[control]")
    with pytest.raises(ConfigError) as caught:
        config_check.parse(text.encode(), Path("/nowhere"))
    assert str(caught.value) == words
