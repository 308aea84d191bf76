"""Lens and mount of the simulated cameras, from frames of the board: the truth is in drivers/sim/render.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
import pytest

from calibration import camera as guided
from calibration import hand_eye, lens
from calibration.person import Table
from calibration.views import View, Views
from drivers.cameras.base import Camera, CameraSettings, Frame, Stamp
from drivers.sim import arm, render
from drivers.sim.board import Board as Held
from drivers.sim.world import World
from edge_runtime.calibration_files import Board
from edge_runtime.errors import EdgeError

SIZE = (640, 480)


class WorldCamera(Camera):
    """A simulated camera; `between` is called before every second frame, so that what it moves is then still."""

    def __init__(self, world: World, name: str, between: Callable[[], None]) -> None:
        super().__init__(CameraSettings(name, "nowhere", *SIZE, 30.0))
        self._world, self._between, self._count = world, between, 0

    def open(self) -> None: ...

    def read_into(self, frame: Frame, timeout_s: float) -> Stamp:
        if self._count % 2 == 0:
            self._between()
        self._count += 1
        self._world.render(self.settings.name, frame)
        return Stamp(self._count, self._count, "device")

    def close(self) -> None: ...


class Patient:
    """Waits until it is done, and gives up after `most` looks."""

    def __init__(self, most: int = 400) -> None:
        self.most = most

    def tell(self, words: str) -> None: ...

    def agree(self, question: str) -> None: ...

    def wait(self, words: str, show: Callable[[], Table], done: Callable[[], bool] = lambda: False) -> None:
        for _ in range(self.most):
            show()
            if done():
                return


def view_of(world: World, name: str) -> render.View:
    return render.BASE if name == "base" else render.wrist_view(arm.forward(world.servos.link_rad))


def shown_about(world: World, name: str, rng: np.random.Generator, tilt: float = 0.6) -> Callable[[], None]:
    """The board before the camera: somewhere in its sight, tilted, near or far."""

    def between() -> None:
        distance = rng.uniform(0.3, 0.6)
        pose = np.eye(4)
        pose[:3, :3] = cv2.Rodrigues(rng.uniform(-tilt, tilt, 3))[0]
        centre = np.array([rng.uniform(-0.33, 0.33), rng.uniform(-0.24, 0.24), 1.0]) * distance
        pose[:3, 3] = centre - pose[:3, :3] @ (0.12, 0.09, 0.0)
        there = np.linalg.inv(view_of(world, name).from_robot) @ pose
        world.board = Held(tuple(map(tuple, there.tolist())))

    return between


@pytest.mark.parametrize(("name", "focal"), [("base", 700.0), ("wrist", 430.0)])
def test_the_focal_length_is_recovered_to_half_a_percent(name: str, focal: float) -> None:
    world = World(3)
    camera = WorldCamera(world, name, shown_about(world, name, np.random.default_rng(1)))
    measured = guided.measure_lens(camera, "sim", Board(), 20, Patient())
    found = measured.found
    np.testing.assert_allclose(found.focal_px, focal, rtol=0.005)
    np.testing.assert_allclose(found.centre_px, (320, 240), atol=3.0)
    np.testing.assert_allclose(found.distortion, 0.0, atol=0.05)
    assert found.error_px < 0.2
    assert abs(found.focal_px[0] - focal) < 5 * found.focal_error_px
    assert found.views >= 20
    picture = cv2.imdecode(np.frombuffer(measured.picture, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (480, 640, 3)


def test_a_wrong_square_does_not_change_the_lens_but_a_distorted_one_shows() -> None:
    """The lens needs no scale; what it needs is known distortion, here a barrel that is put into the corners."""
    rng, corners = np.random.default_rng(0), lens.charuco(Board()).getChessboardCorners()
    matrix, barrel = np.array([[600.0, 0, 310], [0, 605, 250], [0, 0, 1]]), np.array([-0.2, 0.05, 0.001, -0.002, 0.0])
    views = []
    for _ in range(20):
        shift = np.array([rng.uniform(-0.2, 0.0), rng.uniform(-0.15, 0.0), rng.uniform(0.35, 0.5)])
        pixels, _ = cv2.projectPoints(corners, rng.uniform(-0.5, 0.5, 3), shift, matrix, barrel)
        views.append(View(np.arange(35), pixels.reshape(-1, 2) + rng.normal(0, 0.05, (35, 2))))
    found = lens.measure(Board(square_mm=60.0), views, SIZE)
    np.testing.assert_allclose(found.matrix, matrix, rtol=0.005, atol=1.5)
    np.testing.assert_allclose(found.distortion[[0, 2, 3]], barrel[[0, 2, 3]], atol=0.01)
    assert found.error_px == pytest.approx(0.05 * np.sqrt(2), rel=0.15)


def test_views_that_do_not_suffice_are_refused() -> None:
    world = World(3)
    camera = WorldCamera(world, "base", shown_about(world, "base", np.random.default_rng(1)))
    with pytest.raises(EdgeError, match=r"\d views of the board are too few"):
        guided.measure_lens(camera, "sim", Board(), 20, Patient(most=8))


@pytest.mark.parametrize("tilt", [0.0, 0.05])
def test_a_board_that_is_hardly_tilted_is_refused(tilt: float) -> None:
    world = World(3)
    flat = WorldCamera(world, "base", shown_about(world, "base", np.random.default_rng(1), tilt))
    with pytest.raises(EdgeError, match="tilt the board more"):
        guided.measure_lens(flat, "sim", Board(), 12, Patient())


def test_only_a_still_and_new_view_is_kept() -> None:
    world, views, frame = World(3), Views(Board(), SIZE), np.zeros((480, 640, 3), np.uint8)
    move = shown_about(world, "base", np.random.default_rng(2), tilt=0.1)
    kept = []
    for moved in (True, True, False, False):
        if moved:
            move()
        world.render("base", frame)
        kept.append(views.offer(frame))
    assert kept == [False, False, True, False], "moving, moving, still, known"
    world.board = None
    world.render("base", frame)
    assert not views.offer(frame)
    assert views.coverage.sum() == len(views.kept[0].ids)


def poses_of(world: World, rng: np.random.Generator) -> Callable[[], None]:
    """The arm over the table, its wrist turned about."""

    def between() -> None:
        q = arm.top_down(np.array([rng.uniform(0.16, 0.26), rng.uniform(-0.08, 0.08), rng.uniform(0.14, 0.24)]))
        q[3:5] += rng.uniform(-0.5, 0.5), rng.uniform(-0.8, 0.8)
        world.servos.place(np.array([*q, 0.6]))

    return between


def tip_of(q: np.ndarray) -> np.ndarray:
    pose, found = arm.forward(q), np.eye(4)
    found[:3, :3], found[:3, 3] = np.stack([pose.approach, pose.finger, pose.side], axis=1), pose.tip
    return found


@pytest.mark.parametrize(("name", "frame", "focal"), [("wrist", "tip", 430.0), ("base", "base", 700.0)])
def test_where_a_camera_is_fixed_is_recovered(name: str, frame: Literal["tip", "base"], focal: float) -> None:
    """The wrist's looks at a board on the table; the base's at one that the tip holds."""
    world, rng = World(3), np.random.default_rng(4)
    move = poses_of(world, rng)
    on_table = np.array([[1.0, 0, 0, 0.10], [0, -1, 0, 0.10], [0, 0, -1, 0], [0, 0, 0, 1]])
    in_hand = np.eye(4)
    in_hand[:3, :3] = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    in_hand[:3, 3] = (0.02, -0.12, -0.09)

    def between() -> None:
        move()
        there = on_table if frame == "tip" else tip_of(world.servos.link_rad) @ in_hand
        world.board = Held(tuple(map(tuple, there.tolist())))

    camera = WorldCamera(world, name, between)
    known = _known(name, focal)
    found = guided.measure_mount(camera, known, frame, lambda: tip_of(world.servos.link_rad), 15, Patient(200)).mount
    assert found is not None
    camera_in_robot = np.linalg.inv(view_of(world, name).from_robot)
    truth = camera_in_robot if frame == "base" else np.linalg.inv(tip_of(world.servos.link_rad)) @ camera_in_robot
    np.testing.assert_allclose(found.translation_m, truth[:3, 3], atol=0.002)
    assert np.linalg.norm(cv2.Rodrigues(truth[:3, :3].T @ np.array(found.rotation))[0]) < np.radians(0.3)
    assert (found.frame, found.poses) == (frame, 15)
    assert found.error_mm < 2.0


def _known(name: str, focal: float) -> guided.CameraCalibration:
    return guided.CameraCalibration(
        format=1, date="2026-01-02T03:04:05Z", tool="edge-runtime", camera=name, device="sim", width=640, height=480,
        focal_px=(focal, focal), centre_px=(320.0, 240.0), distortion=(0.0, 0.0, 0.0, 0.0), board=Board(), views=20,
        error_px=0.1, focal_error_px=0.1,
    )  # fmt: skip


def test_poses_that_leave_the_place_open_are_refused() -> None:
    about_one_axis = []
    for angle in np.linspace(0.0, 2.0, 8):
        pose = np.eye(4)
        pose[:3, :3] = cv2.Rodrigues(np.array([0.0, 0.0, angle]))[0]
        about_one_axis.append(pose)
    with pytest.raises(EdgeError, match="about one axis only"):
        hand_eye.solve(about_one_axis, [np.linalg.inv(pose) for pose in about_one_axis], "tip")
    with pytest.raises(EdgeError, match="4 poses of the arm are too few"):
        hand_eye.solve(about_one_axis[:4], about_one_axis[:4], "tip")
    still = [np.eye(4)] * 6
    with pytest.raises(EdgeError, match="about one axis only"):
        hand_eye.solve(still, still, "base")
