"""The simulated cameras: the same scene is the same picture, and cups are seen in their colours where they stand."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.sim import arm
from drivers.sim.cups import CUP_HEIGHT_M
from drivers.sim.render import BASE, CUP_RGB, NAMES, wrist_view
from drivers.sim.world import World


def picture(world: World, camera: str) -> np.ndarray:
    out = np.zeros((480, 640, 3), np.uint8)
    world.render(camera, out)
    return out


@pytest.mark.parametrize("camera", NAMES)
def test_same_scene_same_picture(camera: str) -> None:
    assert np.array_equal(picture(World(5), camera), picture(World(5), camera))
    assert not np.array_equal(picture(World(5), camera), picture(World(6), camera))


def test_a_snapshot_does_not_change_with_its_world() -> None:
    world = World(5)
    world.torque_on[:] = True
    snapshot, before = world.snapshot(), picture(world, "base")
    world.goal_rad[:] = (0.8, 0.3, 1.6, 1.2, 0.0, 0.2)
    world.step(0.5)
    out = np.zeros_like(before)
    snapshot.render("base", out)
    assert np.array_equal(out, before)
    assert not np.array_equal(picture(world, "base"), before)


@pytest.mark.parametrize("seed", range(6))
def test_cups_show_their_colours_where_they_stand(seed: int) -> None:
    world = World(seed)
    world.servos.place(np.array([-1.5 if seed % 2 else 1.5, -0.8, 1.9, 1.4, 0.0, 0.5]))  # out of the picture
    image = picture(world, "base").astype(float)
    for cup in world.cups:
        (pixel,), _ = BASE.project((cup.position + np.array([0.02, 0.0, CUP_HEIGHT_M * 0.4]))[None])
        x, y = (round(float(p)) for p in pixel)
        seen = image[y - 2 : y + 3, x - 2 : x + 3].mean(axis=(0, 1))
        nearest = min(CUP_RGB, key=lambda name: _angle(seen, np.array(CUP_RGB[name], float)))
        assert nearest == cup.colour


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return -float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_the_wrist_camera_sees_what_is_between_the_fingers() -> None:
    world = World(2)
    cup = world.cups[0]
    q = np.append(arm.top_down(cup.position + np.array([0, 0, 0.10])), 1.0)
    world.servos.place(q)
    (pixel,), _ = wrist_view(arm.forward(q)).project((cup.position + np.array([0, 0, CUP_HEIGHT_M * 0.8]))[None])
    assert 100 < pixel[0] < 540
    assert 50 < pixel[1] < 430
