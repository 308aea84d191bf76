"""Policies in end-effector space: what they are told of the arm, where their actions bring it, what is refused."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from drivers.cameras.base import CameraSettings
from drivers.sim import arm as sim
from edge_runtime.action_space import JointSpace, action_space
from edge_runtime.bundle_spec import Normalisation, PolicySpec, PoseSpec, PoseVector, VectorSpec
from edge_runtime.chunk import Chunk
from edge_runtime.config import Robot
from edge_runtime.errors import BundleError, ConfigError, EdgeError, UnreachablePose
from edge_runtime.fit import check_fit
from edge_runtime.inference import Inference
from edge_runtime.observation import CameraThread, Observer
from edge_runtime.recorder import Inferences
from tests.edge_runtime import fakes
from tests.edge_runtime.fakes import FakeCamera, FakePolicy, Rig
from tests.edge_runtime.sim_arm import robot

pinocchio = pytest.importorskip("pinocchio", reason="kinematics needs pin: pip install '.[kinematics]'")

DT_NS = 200_000_000
MS = 1_000_000
START = np.array([0.3, -0.13, 1.895, 1.377, 0.2, 0.8])
BENT = np.array([0, 0.05, -0.1, 0.2, 0.3, 0])
BASE_EULER = PoseSpec("base", PoseVector("euler_xyz", (0.0,), (1.0,)))
ACTION = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
DOWN = (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0)
"""BridgeData's level: a tool whose x axis points straight down."""


def spec(pose: PoseSpec | None = BASE_EULER, *, horizon: int = 1, mode: str = "delta", **changes: object) -> PolicySpec:
    """A policy that acts by `pose` at 5 Hz through the camera `base`."""
    state = pose.state.dims if pose and pose.state else 0
    one = msgspec.structs.replace(
        fakes.spec(ACTION, ("base",), units=""),
        state=VectorSpec(tuple(f"state.{k}" for k in range(state)), ("",) * state, state),
        horizon=horizon,
        dt_s=DT_NS / 1e9,
        control_mode=mode,
        pose=pose,
    )
    return msgspec.structs.replace(one, **changes)


def planned(
    folder: Path, actions: object, policy: PolicySpec | None = None, measured: np.ndarray = START, request: int = 1
) -> Chunk:
    """The chunk that `actions` become on the simulated arm at `measured`, captured at 1 s, ready at 1.3 s."""
    policy = policy or spec(horizon=len(np.atleast_2d(actions)))
    space = action_space(robot(folder), policy)
    return filled(space, actions, measured, chunk(space.rows), request)


def chunk(rows: int) -> Chunk:
    made = Chunk(rows, 6, DT_NS)
    made.capture_ns = made.observed_ns = 1_000 * MS
    made.ready_ns = 1_300 * MS
    return made


def filled(space: object, actions: object, measured: np.ndarray, made: Chunk, request: int = 1) -> Chunk:
    made.request = request
    space.plan(np.atleast_2d(np.array(actions, np.float32)), measured, made)  # type: ignore[attr-defined]
    return made


def tip(row: np.ndarray) -> np.ndarray:
    return sim.forward(row).tip


def axes(row: np.ndarray) -> np.ndarray:
    """The grip point's rotation matrix."""
    pose = sim.forward(row)
    return np.stack([pose.approach, pose.finger, pose.side], axis=1)


# ── actions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_deltas_lead_on_from_where_the_arm_is_when_the_chunk_is_ready(tmp_path: Path) -> None:
    made = planned(tmp_path, [[0.01, 0, 0, 0, 0, 0, 1], [0, 0.02, 0, 0, 0, 0, 1], [0, 0, -0.01, 0, 0, 0, 0]])
    assert (made.start_ns, made.rests, len(made.rows)) == (1_300 * MS, True, 4)
    assert made.rows[0].tolist() == START.tolist()
    way = np.array([tip(row) - tip(START) for row in made.rows[1:]])
    assert way == pytest.approx(np.array([[0.01, 0, 0], [0.01, 0.02, 0], [0.01, 0.02, -0.01]]), abs=1e-4)


def test_a_tool_turns_about_the_axes_of_the_base(tmp_path: Path) -> None:
    """The arm points down at START: a turn about z is a wrist roll the other way, which it can make."""
    made = planned(tmp_path, [0, 0, 0, 0, 0, 0.1, 1])
    turned = axes(made.rows[1]) @ axes(START).T
    assert pinocchio.log3(turned) == pytest.approx([0, 0, 0.1], abs=2e-2)
    assert tip(made.rows[1]) == pytest.approx(tip(START), abs=1e-4)


def test_a_tool_frame_is_that_of_the_tip(tmp_path: Path) -> None:
    pose = msgspec.structs.replace(BASE_EULER, frame="tool")
    forward = planned(tmp_path, [0.02, 0, 0, 0, 0, 0, 1], spec(pose))
    assert tip(forward.rows[1]) - tip(START) == pytest.approx(0.02 * sim.forward(START).approach, abs=1e-4)
    roll = planned(tmp_path, [0, 0, 0, 0.3, 0, 0, 1], spec(pose))
    assert roll.rows[1][:5] - START[:5] == pytest.approx([0, 0, 0, 0, 0.3], abs=1e-4)
    levelled = planned(tmp_path, [0, 0, -0.02, 0, 0, 0, 1], spec(msgspec.structs.replace(pose, level=DOWN)))
    assert tip(levelled.rows[1]) - tip(START) == pytest.approx(0.02 * sim.forward(START).approach, abs=1e-4)


def test_units_of_the_controller_and_an_axis_times_an_angle(tmp_path: Path) -> None:
    """LIBERO's: 1 is 5 cm or half a radian. Two axes at once tell an axis-angle from Euler angles."""
    vector = PoseVector("axis_angle", (0.0,), (1.0,), metres=0.05, radians=0.5)
    made = planned(tmp_path, [0.4, 0, 0, 0, 0, 0, 1], spec(PoseSpec("base", vector)))
    assert tip(made.rows[1]) - tip(START) == pytest.approx([0.02, 0, 0], abs=1e-4)
    wanted = sim.forward(START + BENT)
    turn = pinocchio.log3(axes(START + BENT) @ axes(START).T) / 0.5
    made = planned(tmp_path, [*(wanted.tip - tip(START)) / 0.05, *turn, 1], spec(PoseSpec("base", vector)))
    assert made.rows[1][:5] == pytest.approx((START + BENT)[:5], abs=1e-4)


@pytest.mark.parametrize("rotation", ["euler_xyz", "axis_angle"])
@pytest.mark.parametrize("level", [(), DOWN])
def test_absolute_poses_are_due_from_the_capture(tmp_path: Path, rotation: str, level: tuple[float, ...]) -> None:
    vector = PoseVector(rotation, (0.0,), (1.0,))  # type: ignore[arg-type]
    goals = [START + 0.05 * k * np.array([1, 1, -1, 1, 1, 0]) for k in range(3)]
    plain = np.eye(3) if not level else np.array(level).reshape(3, 3)
    actions = [[*tip(g), *numbers(rotation, axes(g) @ plain.T), 1.0] for g in goals]
    made = planned(tmp_path, actions, spec(PoseSpec("base", vector, level=level), horizon=3, mode="absolute"))
    assert (made.start_ns, made.rests, len(made.rows)) == (1_000 * MS, False, 3)
    assert made.actions[:, :5] == pytest.approx(np.array(goals)[:, :5], abs=1e-4)


def numbers(rotation: str, matrix: np.ndarray) -> np.ndarray:
    """Euler angles by hand: R = Rz·Ry·Rx; the axis times the angle by pinocchio."""
    if rotation == "axis_angle":
        return np.array(pinocchio.log3(matrix))
    return np.array(
        [
            math.atan2(matrix[2, 1], matrix[2, 2]),
            math.asin(-matrix[2, 0]),
            math.atan2(matrix[1, 0], matrix[0, 0]),
        ]
    )


@pytest.mark.parametrize(
    ("closed", "opened", "number", "wanted"),
    [(0, 1, 1, 1.1), (0, 1, 0, 0.5), (0, 1, 0.5, 0.8), (0, 1, 7, 1.1), (1, -1, -1, 1.1), (1, -1, 0.5, 0.65)],
)
def test_a_gripper_opens_as_far_as_is_said(
    tmp_path: Path, closed: float, opened: float, number: float, wanted: float
) -> None:
    """Between the ends of its range in robot.toml, 0.5 and 1.1 rad."""
    pose = PoseSpec("base", PoseVector("euler_xyz", (float(closed),), (float(opened),)))
    made = planned(tmp_path, [0, 0, 0, 0, 0, 0, number], spec(pose))
    assert made.rows[0][5] == START[5]
    assert made.rows[1][5] == pytest.approx(wanted)


def test_a_gripper_may_be_open_at_its_lowest(tmp_path: Path) -> None:
    one = robot(tmp_path)
    shape = msgspec.structs.replace(one.kinematics, gripper_open="lowest")
    space = action_space(msgspec.structs.replace(one, kinematics=shape), spec())
    assert filled(space, [0, 0, 0, 0, 0, 0, 1], START, chunk(2)).rows[1][5] == pytest.approx(0.5)


# ── one chunk after another ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_next_chunk_leads_on_from_where_the_last_one_has_brought_the_arm(tmp_path: Path) -> None:
    """Not from where a servo hangs; halfway through the last one, from halfway; of another task, from the joints."""
    space = action_space(robot(tmp_path), spec())
    first, second = chunk(2), chunk(2)
    filled(space, [0.02, 0, 0, 0, 0, 0, 1], START, first)
    hanging = first.rows[1] - 0.03
    second.ready_ns = first.start_ns + DT_NS + 50 * MS
    assert filled(space, [0, 0, 0, 0, 0, 0, 1], hanging, second).rows[0] == pytest.approx(first.rows[1])
    filled(space, [0.02, 0, 0, 0, 0, 0, 1], START, first, request=2)
    second.ready_ns = first.start_ns + DT_NS // 2
    half = (first.rows[0] + first.rows[1]) / 2
    assert filled(space, [0, 0, 0, 0, 0, 0, 1], hanging, second, request=2).rows[0] == pytest.approx(half)
    assert filled(space, [0, 0, 0, 0, 0, 0, 1], hanging, second, request=3).rows[0] == pytest.approx(hanging)


def test_an_arm_that_is_held_back_pushes_no_harder_with_every_action(tmp_path: Path) -> None:
    space = action_space(robot(tmp_path), spec())
    made = chunk(2)
    for _ in range(30):
        filled(space, [0, 0.02, 0, 0, 0, 0, 1], START, made)
        made.ready_ns += DT_NS
    assert np.abs(made.rows[0] - START)[:5].max() <= 0.2 + 1e-9
    assert np.linalg.norm(tip(made.rows[1]) - tip(START)) < 0.15


def test_a_published_chunk_may_be_written_anew(tmp_path: Path) -> None:
    space = action_space(robot(tmp_path), spec())
    made = chunk(2)
    wanted = filled(space, [0.02, 0, 0, 0, 0, 0, 1], START, made).rows[1].copy()
    made.actions[:] = 9.0
    made.ready_ns += 2 * DT_NS
    assert filled(space, [0, 0, 0, 0, 0, 0, 1], START, made).rows[0] == pytest.approx(wanted)


def test_a_pose_out_of_reach_is_counted_and_far_out_it_is_a_fault(tmp_path: Path) -> None:
    space = action_space(robot(tmp_path), spec())
    stretched = np.array([0.0, 1.4, 0.3, -0.1, 0.0, 0.8])
    near = filled(space, [0.01, 0, 0, 0, 0, 0, 1], stretched, chunk(2))
    assert np.isfinite(near.actions).all()
    assert space.counts() == {"poses not reached": 1}
    with pytest.raises(UnreachablePose, match=r"gets no nearer than \d+ mm to, limit 20 mm"):
        filled(space, [0.2, 0, 0, 0, 0, 0, 1], stretched, chunk(2))
    assert space.counts() == {"poses not reached": 2}


# ── state ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def told(folder: Path, pose: PoseSpec, q: np.ndarray, **changes: object) -> np.ndarray:
    policy = spec(pose, **changes)
    state = np.zeros(policy.state.dims, np.float32)
    action_space(robot(folder), policy).observe(q, state)
    return state


def test_the_state_of_a_widowx_is_level_when_its_tool_points_down(tmp_path: Path) -> None:
    vector = PoseVector("euler_xyz", (0.0,), (1.0,))
    pose = PoseSpec("base", BASE_EULER.action, vector, level=DOWN)
    down = np.array([0.0, *sim.top_down(np.array([0.25, 0.0, 0.1]))[1:], 0.65])
    assert told(tmp_path, pose, down) == pytest.approx([0.25, 0, 0.1, 0, 0, 0, 0.25], abs=1e-6)
    turned = down - np.array([0, 0, 0, 0.2, 0, 0])
    assert told(tmp_path, pose, turned)[3:6] == pytest.approx([0, -0.2, 0], abs=1e-6)


def test_a_panda_of_libero_is_told_in_an_axis_times_an_angle_and_two_fingers(tmp_path: Path) -> None:
    one = robot(tmp_path)
    shape = msgspec.structs.replace(one.kinematics, tip="grip_site")
    vector = PoseVector("axis_angle", (0.0, 0.0), (0.04, -0.04))
    middle = Normalisation("quantiles", (0.0, 0, 0, 3.0, -0.2, -0.2, 0, -1), (1.0, 1, 1, 3.2, 0.2, 0.2, 1, 0))
    policy = spec(PoseSpec("base", BASE_EULER.action, vector), state_normalisation=middle)
    space = action_space(msgspec.structs.replace(one, kinematics=shape), policy)
    state = np.zeros(8, np.float32)
    for roll in (-0.01, 0.01):  # half a turn about x, a little less or more: never told as minus half a turn
        q = np.array([0.0, *sim.top_down(np.array([0.25, 0.0, 0.1]))[1:], 1.1])
        q[3] += roll
        space.observe(q, state)
        turn = pinocchio.exp3(state[3:6].astype(float))
        pose = sim.forward(q)
        assert turn == pytest.approx(np.stack([pose.side, -pose.finger, pose.approach], axis=1), abs=1e-6)
        assert state[3:6] == pytest.approx([math.pi, 0, 0], abs=0.02)
        assert state[6:] == pytest.approx([0.04, -0.04])


def test_angles_are_told_near_what_the_policy_was_taught(tmp_path: Path) -> None:
    vector = PoseVector("euler_xyz", (0.0,), (1.0,))
    usual = Normalisation("mean_std", (0.0, 0, 0, 0, 0, 2 * math.pi, 0), (1.0,) * 7)
    pose = PoseSpec("base", BASE_EULER.action, vector)
    plain, shifted = told(tmp_path, pose, START), told(tmp_path, pose, START, state_normalisation=usual)
    assert shifted - plain == pytest.approx([0, 0, 0, 0, 0, 2 * math.pi, 0], abs=1e-5)


def test_what_a_person_does_is_an_action_where_actions_are_poses(tmp_path: Path) -> None:
    action = np.zeros((1, 7), np.float32)
    assert not action_space(robot(tmp_path), spec()).told(START, action)
    space = action_space(robot(tmp_path), spec(mode="absolute"))
    assert space.told(START, action)
    made = filled(space, action, START - BENT, chunk(1))
    assert made.rows[0] == pytest.approx(START, abs=1e-4)


# ── what is refused when it is loaded ───────────────────────────────────────────────────────────────────────────────


def _blind(one: Robot) -> Robot:
    return msgspec.structs.replace(one, kinematics=type(one.kinematics)())


def _open(one: Robot, policy: PolicySpec) -> None:
    only = msgspec.structs.replace(one, cameras=one.cameras[:1])
    check_fit(only, policy)
    action_space(only, policy)


def test_what_fits(tmp_path: Path) -> None:
    _open(robot(tmp_path), spec())
    joints = fakes.spec(tuple(j.name for j in robot(tmp_path).joints), ("base",))
    assert isinstance(action_space(robot(tmp_path), joints), JointSpace)


@pytest.mark.parametrize(
    ("change", "policy", "kind", "words"),
    [
        (_blind, spec(), ConfigError, "kinematics: is missing, and .*bundle acts in end-effector space: say urdf, tip"),
        (lambda r: r, spec(None), BundleError, "its actions are delta, in a convention that it does not say"),
        (lambda r: r, spec(None, mode="absolute"), BundleError, "action of 7 dimensions, the robot has 6 joints"),
    ],
)
def test_a_robot_that_cannot_serve_it_is_one_line(
    tmp_path: Path, change: Callable[[Robot], Robot], policy: PolicySpec, kind: type[EdgeError], words: str
) -> None:
    with pytest.raises(kind, match=words) as caught:
        _open(change(robot(tmp_path)), policy)
    assert "\n" not in str(caught.value)


def test_without_the_library_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pinocchio", None)
    for name in ("edge_runtime.pose_space", "edge_runtime.kinematics"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(EdgeError, match=r'needs "pinocchio", .*: pip install \'\.\[kinematics\]\''):
        action_space(robot(tmp_path), spec())


# ── through the real loop ───────────────────────────────────────────────────────────────────────────────────────────


class Bench:
    """The control loop, an inference thread that is stepped, and motors that follow; a policy that takes its time."""

    def __init__(self, folder: Path, policy: PolicySpec, takes_ms: int) -> None:
        one = robot(folder)
        one = msgspec.structs.replace(
            one,
            cameras=one.cameras[:1],
            deadlines=msgspec.structs.replace(one.deadlines, inference_ms=800.0, chunk_age_ms=1500.0),
            episode=msgspec.structs.replace(one.episode, timeout_s=60.0),
        )
        space = action_space(one, policy)
        self.rig = Rig(one, rows=space.rows, dt_ns=DT_NS)
        self.rig.bus.position[:] = [j.park_rad for j in one.joints]
        self.policy = FakePolicy(policy)
        self.script: list[np.ndarray] = []
        self.policy.act = self._act
        settings = CameraSettings("base", "/dev/none", 640, 480, 30.0)
        self.camera = CameraThread(
            FakeCamera(settings, lambda n: self.rig.clock.now_ns() // MS - 20),
            arrived=threading.Event(),
            report=self.rig.queue.report,
        )
        self.inference = Inference(
            self.policy,
            observer=Observer([self.camera], self.policy.frames, self.rig.link),
            link=self.rig.link,
            clock=self.rig.clock,
            inferences=Inferences(100),
            arrived=threading.Event(),
            report=self.rig.queue.report,
            space=space,
        )
        self._takes = takes_ms // 10
        self._modes: list[str] = []

    def _act(self, observation: object, out: np.ndarray) -> None:
        self.rig.tick(self._takes)  # control goes on meanwhile
        self._modes.append(self.rig.mode)
        out[:] = self.script.pop(0)

    def run(self, script: list[np.ndarray]) -> None:
        """One inference after another until the script is over."""
        self.script = list(script)
        for _ in script:
            self.camera.read()
            assert self.inference.infer(self.rig.link.request), self.rig.events

    def begin(self) -> None:
        assert self.rig.say("arm") == ""
        self.rig.until("READY")
        assert self.rig.say("task", "draw") == ""
        self.rig.until("RUN (task)")

    @property
    def tip(self) -> np.ndarray:
        return tip(self.rig.bus.position)


def circle(steps: int, radius: float) -> list[np.ndarray]:
    """Deltas [1, 7] once round a circle in the plane x = constant, seen from the start at its lowest point."""
    angles = np.linspace(0.0, 2.0 * np.pi, steps + 1)
    points = radius * np.stack([np.zeros_like(angles), np.sin(angles), 1.0 - np.cos(angles)], axis=1)
    return [np.array([[*way, 0, 0, 0, 0.5]]) for way in np.diff(points, axis=0)]


@pytest.mark.parametrize("takes_ms", [150, 350])
def test_the_tip_goes_where_the_deltas_say(tmp_path: Path, takes_ms: int) -> None:
    """OpenVLA's way: an action at a time, at 5 Hz, from a policy that may be slower. The arm rests between two."""
    bench = Bench(tmp_path, spec(), takes_ms)
    bench.begin()
    start, tips = bench.tip, []
    script = circle(24, 0.04)
    for action in script:
        bench.run([action])
        bench.rig.tick(60)
        tips.append(bench.tip)
    wanted = start + np.cumsum([action[0, :3] for action in script], axis=0)
    assert np.abs(np.array(tips) - wanted).max() < 1e-3
    assert tips[-1] == pytest.approx(start, abs=1e-3)
    assert max(np.ptp(np.array(tips), axis=0)) > 0.07
    assert set(bench._modes) == {"RUN (task)"}
    assert bench.rig.named("COAST") == []
    assert bench.inference.failed == 0


def test_setpoints_do_not_jump_from_chunk_to_chunk(tmp_path: Path) -> None:
    """Replanned four times an action: what is emitted goes on where it was."""
    bench = Bench(tmp_path, spec(horizon=4), takes_ms=50)
    bench.begin()
    before = len(bench.rig.bus.writes)
    bench.run([np.tile([0.0, 0.01, 0.0, 0, 0, 0, 0.5], (4, 1)) for _ in range(12)])
    moved = np.diff(bench.rig.emitted()[before + 20 :], axis=0)
    assert np.abs(moved[:, :5]).max() < 0.012  # 1.2 rad/s; 0.01 m a fifth of a second is less than 0.3 rad/s
    assert bench.tip[1] > 0.02


def test_a_policy_that_asks_for_what_cannot_be_is_a_fault_that_is_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path, spec(), takes_ms=100)
    bench.begin()
    bench.run([np.array([[0.0, 0.01, 0, 0, 0, 0, 0.5]])])
    bench.rig.tick(60)
    rest = bench.rig.emitted()[-1]
    bench.run([np.array([[3.0, 0, 0, 0, 0, 0, 0.5]])])
    bench.rig.until("HOLD")
    (cause,) = bench.rig.named("unreachable pose")
    assert "limit 20 mm" in cause
    assert bench.rig.emitted()[-1] == pytest.approx(rest, abs=1e-3)  # what was left of the first seam
    assert bench.inference.space.counts() == {"poses not reached": 1}


def test_a_policy_that_falls_silent_ends_in_hold(tmp_path: Path) -> None:
    bench = Bench(tmp_path, spec(), takes_ms=100)
    bench.begin()
    bench.run([np.array([[0.0, 0.01, 0, 0, 0, 0, 0.5]])])
    bench.rig.until("COAST (task)", limit=200)
    bench.rig.until("HOLD", limit=200)
    assert any("frame behind the chunk" in cause for cause in bench.rig.named("COAST (task)"))
