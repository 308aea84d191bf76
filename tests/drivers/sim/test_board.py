"""The board in the simulated cameras' sight is where projection says, to a fraction of a pixel."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from drivers.sim import render
from drivers.sim.board import Board
from drivers.sim.scene_json import pack, unpack
from drivers.sim.world import World


def held(board_to_camera: np.ndarray) -> World:
    """A world in whose base camera the board stands like that."""
    world = World(3)
    pose = np.linalg.inv(render.BASE.from_robot) @ board_to_camera
    world.board = Board(tuple(map(tuple, pose.tolist())))
    return world


def before_the_camera(turn: tuple[float, float, float]) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(np.array(turn))[0]
    pose[:3, 3] = (-0.11, -0.07, 0.45)
    return pose


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.4, -0.3, 0.2), (-0.2, 0.5, -0.1)])
def test_corners_are_where_the_pinhole_puts_them(turn: tuple[float, float, float]) -> None:
    pose = before_the_camera(turn)
    frame = np.zeros((480, 640, 3), np.uint8)
    held(pose).render("base", frame)
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    board = cv2.aruco.CharucoBoard((8, 6), 0.03, 0.0225, dictionary)
    corners, ids, _, _ = cv2.aruco.CharucoDetector(board).detectBoard(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
    assert len(ids) == 35
    points = (pose[:3, :3] @ board.getChessboardCorners()[ids.ravel()].T).T + pose[:3, 3]
    pixels = points @ render.BASE.matrix.T
    np.testing.assert_allclose(corners.reshape(-1, 2), pixels[:, :2] / pixels[:, 2:], atol=0.25)


def test_behind_the_camera_there_is_nothing() -> None:
    away = np.diag([1.0, 1.0, 1.0, 1.0])
    away[2, 3] = -0.5
    seen, bare = np.zeros((2, 480, 640, 3), np.uint8)
    held(away).render("base", seen)
    World(3).render("base", bare)
    np.testing.assert_array_equal(seen, bare)


def test_it_travels_with_the_scene() -> None:
    world = held(before_the_camera((0.1, 0.2, 0.3)))
    scene = world.snapshot().scene
    found = unpack(json.loads(json.dumps(pack(scene))))
    one, other = np.zeros((2, 480, 640, 3), np.uint8)
    render.render(scene, "base", one)
    render.render(found, "base", other)
    np.testing.assert_array_equal(one, other)
