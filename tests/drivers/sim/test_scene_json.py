"""A scene that travelled as JSON looks the same to the pixel."""

import json

import numpy as np

from drivers.sim.scene_json import pack, unpack
from drivers.sim.world import World


def test_the_same_pixels_come_out() -> None:
    world = World(11)
    world.step(0.25)
    world.cups[0].fallen, world.cups[0].fall_rad = True, 0.7
    here, there = np.zeros((480, 640, 3), np.uint8), np.ones((480, 640, 3), np.uint8)
    snapshot = world.snapshot()
    travelled = type(snapshot)(unpack(json.loads(json.dumps(pack(snapshot.scene)))))
    for camera in ("base", "wrist"):
        snapshot.render(camera, here)
        travelled.render(camera, there)
        np.testing.assert_array_equal(here, there)
