"""Rendered scenes on disk: what the cameras see, at the model's resolution, with what the world knows about it.

Shards are plain .npy files in a cache folder; a shard that is there is not made again.
"""

from __future__ import annotations

import multiprocessing as mp
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.demo.scenes import sample
from drivers.sim import arm
from drivers.sim.cups import COLOURS
from drivers.sim.render import BASE, HEIGHT, NAMES, WIDTH, Scene, cup_outline, render, wrist_view

IMAGE, PATCH = 96, 12
ROWS, COLUMNS = IMAGE * HEIGHT // WIDTH, IMAGE  # the letterbox's picture
GRID = (ROWS // PATCH, COLUMNS // PATCH)
MAX_CUPS = 4
SHARD = 4000


@dataclass(frozen=True)
class Scenes:
    """N scenes, one row each."""

    pixels: NDArray[np.uint8]
    """[N, cameras, ROWS, COLUMNS, 3], RGB."""
    covered: NDArray[np.uint8]
    """[N, cameras, rows, columns, MAX_CUPS]: share of a patch that each cup's outline covers, of 255."""
    colours: NDArray[np.int8]
    """[N, MAX_CUPS]: index into COLOURS, -1 for no cup."""
    cups: NDArray[np.float32]
    """[N, MAX_CUPS, 3]: positions of the cups' bases, m."""
    held: NDArray[np.int8]
    """[N]: index of the cup in the gripper, or -1."""
    joints: NDArray[np.float32]
    """[N, 6]: joint angles, rad."""

    def __len__(self) -> int:
        return len(self.joints)


def small(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A camera's frame at the model's resolution: bilinear without antialiasing, as lerobot resizes for pi0."""
    return np.asarray(cv2.resize(frame, (COLUMNS, ROWS), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def observe(scene: Scene, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """All cameras' pictures of `scene` [cameras, ROWS, COLUMNS, 3]; `frame` uint8[480, 640, 3] is scratch."""
    out = np.empty((len(NAMES), ROWS, COLUMNS, 3), dtype=np.uint8)
    for i, camera in enumerate(NAMES):
        render(scene, camera, frame)
        out[i] = small(frame)
    return out


def coverage(scene: Scene) -> NDArray[np.uint8]:
    """[cameras, rows, columns, MAX_CUPS] as in `Scenes`; nearer cups hide farther ones, the arm hides nothing."""
    out = np.zeros((len(NAMES), *GRID, MAX_CUPS), dtype=np.uint8)
    views = (BASE, wrist_view(arm.forward(scene.q)))
    for c, view in enumerate(views):
        ids = np.zeros((ROWS, COLUMNS), dtype=np.uint8)
        order = sorted(range(len(scene.cups)), key=lambda i: -float(np.linalg.norm(scene.cups[i].position - view.eye)))
        for i in order:
            outline = cup_outline(scene.cups[i])
            pixels, depth = view.project(outline)
            if depth.min() > 0.03:
                hull = cv2.convexHull(np.clip(pixels * (COLUMNS / WIDTH), -500, 500).astype(np.float32))
                cv2.fillConvexPoly(ids, np.round(hull).astype(np.int32), i + 1)
        tiles = ids.reshape(GRID[0], PATCH, GRID[1], PATCH)
        for i in range(len(scene.cups)):
            out[c, :, :, i] = np.round((tiles == i + 1).mean(axis=(1, 3)) * 255)
    return out


def empty(n: int) -> Scenes:
    """`n` rows to write into."""
    return Scenes(
        np.empty((n, len(NAMES), ROWS, COLUMNS, 3), np.uint8), np.zeros((n, len(NAMES), *GRID, MAX_CUPS), np.uint8),
        np.full((n, MAX_CUPS), -1, np.int8), np.zeros((n, MAX_CUPS, 3), np.float32), np.full(n, -1, np.int8),
        np.zeros((n, 6), np.float32),
    )  # fmt: skip


def join(parts: list[Scenes]) -> Scenes:
    """All rows of `parts`, one after the other."""
    return Scenes(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Scenes)})


def make(seeds: range) -> Scenes:
    """The scenes of `seeds`."""
    scenes = empty(len(seeds))
    frame = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    for row, seed in enumerate(seeds):
        scene, held = sample(seed)
        put(scenes, row, scene, held, observe(scene, frame))
    return scenes


def put(scenes: Scenes, row: int, scene: Scene, held: int | None, pixels: NDArray[np.uint8]) -> None:
    """Write one scene, already rendered, into a row."""
    scenes.pixels[row], scenes.covered[row] = pixels, coverage(scene)
    scenes.held[row] = -1 if held is None else held
    scenes.joints[row] = scene.q
    for i, cup in enumerate(scene.cups):
        scenes.colours[row, i], scenes.cups[row, i] = COLOURS.index(cup.colour), cup.position


def save(scenes: Scenes, stem: Path) -> None:
    """One .npy file a field, beside each other, each moved into place when complete."""
    for field in fields(scenes):
        part = stem.with_name(f"{stem.name}.{field.name}.part")
        with part.open("wb") as f:
            np.save(f, getattr(scenes, field.name), allow_pickle=False)
        part.rename(stem.with_name(f"{stem.name}.{field.name}.npy"))


def complete(stem: Path) -> bool:
    """Whether a shard is there, all of it."""
    return all(stem.with_name(f"{stem.name}.{f.name}.npy").exists() for f in fields(Scenes))


def load(stems: list[Path]) -> Scenes:
    """The scenes of several shards, one after the other, in memory."""
    names = [f.name for f in fields(Scenes)]
    return Scenes(**{n: np.concatenate([np.load(s.with_name(f"{s.name}.{n}.npy")) for s in stems]) for n in names})


def _make_shard(index: int, folder: Path) -> Path:
    stem = folder / f"scenes-{index:03d}"
    if not complete(stem):
        cv2.setNumThreads(1)
        save(make(range(index * SHARD, (index + 1) * SHARD)), stem)
    return stem


def shards(count: int, folder: Path, processes: int) -> list[Path]:
    """Make what is missing of `count` shards; their stems."""
    folder.mkdir(parents=True, exist_ok=True)
    with mp.get_context("spawn").Pool(processes) as pool:
        return list(pool.imap(partial(_make_shard, folder=folder), range(count)))
