"""Cups, and where they stand at the beginning of an episode."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from drivers.sim.arm import Floats

COLOURS = ("red", "green", "blue", "yellow", "purple")
RADIUS_M, AZIMUTH_RAD = (0.17, 0.33), 0.95
"""Where cups stand: distance from the pan axis, and the largest angle to either side of x."""
CUP_RADIUS_M, CUP_HEIGHT_M, CUP_KG = 0.027, 0.085, 0.03
SPACING_M = 0.115
"""Least distance between the axes of two cups in a new layout: room for an open finger between them."""
SPEED_M_S = 0.015


@dataclass
class Cup:
    """A cup: where its base stands (m), how it drifts (m/s), and whether it lies on its side."""

    colour: str
    position: Floats
    velocity: Floats
    fallen: bool = False
    fall_rad: float = 0.0
    """Direction in which a fallen cup lies."""

    @property
    def moving(self) -> bool:
        return bool(self.velocity.any())


def layout(rng: np.random.Generator) -> list[Cup]:
    """Two to four cups of different colours at random places that the arm reaches; each drifts with probability 0.3."""
    count = int(rng.choice([2, 3, 4], p=[0.2, 0.5, 0.3]))
    colours = rng.permutation(len(COLOURS))[:count]
    while True:
        radius = np.sqrt(rng.uniform(RADIUS_M[0] ** 2, RADIUS_M[1] ** 2, count))
        azimuth = rng.uniform(-AZIMUTH_RAD, AZIMUTH_RAD, count)
        places = np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth)], axis=-1)
        gaps = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1)) + np.eye(count)
        if gaps.min() >= SPACING_M:
            break
    cups = []
    for colour, place in zip(colours, places, strict=True):
        heading, speed = rng.uniform(0, 2 * math.pi), rng.uniform(0.005, SPEED_M_S) * (rng.random() < 0.3)
        velocity = np.array([speed * math.cos(heading), speed * math.sin(heading), 0.0])
        cups.append(Cup(COLOURS[int(colour)], np.array([*place, 0.0]), velocity))
    return cups
