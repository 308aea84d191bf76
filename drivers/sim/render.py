"""The simulated cameras: pinhole projection, painter's algorithm, flat shading, with OpenCV's polygon filler.

Colours, light, table and noise vary mildly with the scene's seed; the same scene always gives the same picture.
Two cameras: "base" looks down at the table from the front, "wrist" rides on the gripper and sees both fingers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from drivers.sim import arm
from drivers.sim import board as boards
from drivers.sim.arm import Floats, Pose
from drivers.sim.board import Board
from drivers.sim.contact import FINGER_THICKNESS_M, PAD_HALF_HEIGHT_M, PAD_HALF_WIDTH_M
from drivers.sim.cups import CUP_HEIGHT_M, CUP_RADIUS_M, Cup

Image = NDArray[np.uint8]

WIDTH, HEIGHT = 640, 480
NAMES = ("base", "wrist")
CUP_RGB = {
    "red": (205, 40, 38), "green": (38, 150, 62), "blue": (38, 84, 200), "yellow": (232, 196, 40),
    "purple": (140, 60, 170),
}  # fmt: skip
_SHIFT = 4  # OpenCV polygons take fixed-point coordinates: 1/16 pixel
_TABLE_M = (-0.30, 0.62, -0.62, 0.62)  # x from, x to, y from, y to
_SIDES = 20
_ANGLES = np.linspace(0, 2 * math.pi, _SIDES, endpoint=False)
_RING = np.stack([np.cos(_ANGLES), np.sin(_ANGLES), np.zeros(_SIDES)], axis=-1)  # [20, 3]
_BOTTOM_TAPER = 0.78
_NOISE_MEAN = np.array([6.0, 6.0, 6.0, 0.0])
_METAL, _DARK, _SERVO, _PAD = (226, 228, 232), (70, 74, 82), (42, 44, 50), (30, 30, 34)
_CORNERS = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], dtype=float)  # [8, 3]
_FACES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
_NORMALS = np.array([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]], dtype=float)


@dataclass(frozen=True)
class Scene:
    """Everything a camera can see: looks (seed), noise (time), joints [6] and cups."""

    seed: int
    time_ms: int
    q: Floats
    cups: tuple[Cup, ...]
    board: Board | None = None
    """Held before everything else."""


@dataclass(frozen=True)
class View:
    """A pinhole camera: where it is, its axes (right, down, forward) as rows [3, 3], and its focal length in pixels."""

    eye: Floats
    axes: Floats
    focal: float

    @property
    def matrix(self) -> Floats:
        """[3, 3], OpenCV's: pixel (0, 0) is the centre of the first pixel."""
        return np.array([[self.focal, 0.0, WIDTH / 2], [0.0, self.focal, HEIGHT / 2], [0.0, 0.0, 1.0]])

    @property
    def from_robot(self) -> Floats:
        """[4, 4]: points of the robot's frame to the camera's."""
        found = np.eye(4)
        found[:3, :3], found[:3, 3] = self.axes, -self.axes @ self.eye
        return found

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Pixels [n, 2] and depth [n] of `points` [n, 3]; points behind the camera are drawn at 2 cm before it."""
        seen = (points - self.eye) @ self.axes.T
        depth = np.maximum(seen[:, 2], 0.02)
        return seen[:, :2] * (self.focal / depth)[:, None] + (WIDTH / 2, HEIGHT / 2), depth


@dataclass(frozen=True)
class Look:
    """What a seed decides about the picture."""

    table: Floats
    plank: Floats
    floor: Floats
    light: Floats
    """Unit vector towards the light."""
    ambient: float
    gain: float
    tint: Floats
    """Factor on each cup's colour [3]."""
    plank_m: float
    slant: float


def look_at(eye: Floats, target: Floats, up: Floats, focal: float) -> View:
    """A camera at `eye` that looks at `target`."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    return View(eye, np.stack([right, np.cross(forward, right), forward]), focal)


BASE = look_at(np.array([0.66, 0.0, 0.70]), np.array([0.145, 0.0, 0.03]), np.array([0.0, 0.0, 1.0]), 700.0)


def wrist_view(pose: Pose) -> View:
    """The camera on the gripper, 9 cm to its side and level with the wrist, looking past the grip point."""
    eye = pose.wrist + 0.095 * pose.side - 0.02 * pose.approach
    return look_at(eye, pose.tip - 0.01 * pose.side + 0.02 * pose.approach, -pose.side, 430.0)


@lru_cache(maxsize=64)
def look(seed: int) -> Look:
    """The looks of `seed`."""
    rng = np.random.default_rng([seed, 7])
    tables = np.array([[196, 178, 150], [170, 172, 176], [206, 200, 190], [158, 140, 118], [128, 134, 140]], float)
    table = tables[int(rng.integers(len(tables)))] * rng.uniform(0.88, 1.08) + rng.uniform(-6, 6, 3)
    light = np.array([rng.uniform(-0.5, 0.5), rng.uniform(-0.6, 0.6), 1.0])
    return Look(
        table, table * rng.uniform(0.90, 1.06), np.full(3, rng.uniform(50, 95)), light / np.linalg.norm(light),
        rng.uniform(0.50, 0.62), rng.uniform(0.88, 1.10), rng.uniform(0.93, 1.07, 3), rng.uniform(0.09, 0.16),
        rng.uniform(-0.15, 0.15),
    )  # fmt: skip


@lru_cache(maxsize=1)
def _noise() -> NDArray[np.uint8]:
    """Sensor noise with mean 6, a strip from which frames are cut at different offsets."""
    rng = np.random.default_rng(11)
    return np.clip(np.round(rng.normal(_NOISE_MEAN[0], 2.2, (HEIGHT + 64, WIDTH, 3))), 0, 12).astype(np.uint8)


class _Canvas:
    """Polygons onto one frame through one view, lit by one look."""

    def __init__(self, out: Image, view: View, style: Look) -> None:
        self.out, self.view, self.style = out, view, style

    def colour(self, rgb: Floats | tuple[int, int, int], normal: Floats | None = None) -> tuple[float, ...]:
        """`rgb` under the light for a face with this `normal` (straight up where None)."""
        style = self.style
        lit = float(style.light[2]) if normal is None else max(float(normal @ style.light), 0.0)
        shade = style.gain * (style.ambient + (1.0 - style.ambient) * lit)
        return tuple(min(255.0, float(c) * shade) for c in rgb)

    def fill(self, pixels: Floats, rgb: tuple[float, ...]) -> None:
        """A convex polygon of `pixels` [n, 2]."""
        points = np.clip(pixels, -8000, 8000) * (1 << _SHIFT)
        cv2.fillConvexPoly(self.out, np.round(points).astype(np.int32), rgb, cv2.LINE_8, _SHIFT)

    def box(self, centre: Floats, axes: Floats, half: tuple[float, float, float], rgb: tuple[int, int, int]) -> None:
        """A box with `half` extents along the rows of `axes` [3, 3]; its far faces are not drawn."""
        pixels, _ = self.view.project(centre + (_CORNERS * half) @ axes)
        normals = _NORMALS @ axes
        faces = centre + (_NORMALS * half) @ axes
        for face, normal, middle in zip(_FACES, normals, faces, strict=True):
            if float(normal @ (self.view.eye - middle)) > 0.0:
                self.fill(pixels[face], self.colour(rgb, normal))

    def bar(
        self, start: Floats, end: Floats, side: Floats, width: float, thick: float, rgb: tuple[int, int, int]
    ) -> None:
        """A box from `start` to `end`, `width` along `side` and `thick` across."""
        along = end - start
        length = float(np.linalg.norm(along))
        along = along / length
        self.box(
            (start + end) / 2, np.stack([along, side, np.cross(along, side)]), (length / 2, width / 2, thick / 2), rgb
        )

    def table(self) -> None:
        """Floor, table top and its planks."""
        style = self.style
        self.out[:] = np.asarray(self.colour(style.floor), dtype=np.uint8)
        x0, x1, y0, y1 = _TABLE_M
        self.ground([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], self.colour(style.table))
        y, odd = y0, False
        while y < y1:
            if odd:
                z = min(y + style.plank_m, y1)
                lean = style.slant * (x1 - x0)
                quad = [(x0, y), (x1, min(max(y + lean, y0), y1)), (x1, min(max(z + lean, y0), y1)), (x0, z)]
                self.ground(quad, self.colour(style.plank))
            y, odd = y + style.plank_m, not odd

    def ground(self, corners: list[tuple[float, float]] | Floats, rgb: tuple[float, ...]) -> None:
        """A convex polygon on the table, clipped at 3 cm before the camera."""
        points = np.column_stack([np.asarray(corners, dtype=float), np.zeros(len(corners))])
        depth = (points - self.view.eye) @ self.view.axes[2] - 0.03
        if (depth < 0).any():
            kept = []
            for i in range(len(points)):
                j = (i + 1) % len(points)
                if depth[i] >= 0:
                    kept.append(points[i])
                if (depth[i] < 0) != (depth[j] < 0):
                    kept.append(points[i] + (points[j] - points[i]) * depth[i] / (depth[i] - depth[j]))
            if len(kept) < 3:
                return
            points = np.array(kept)
        self.fill(self.view.project(points)[0], rgb)

    def shadow(self, points: Floats) -> None:
        """The shadow of the convex hull of `points` [n, 3] on the table."""
        light = self.style.light
        on_table = points[:, :2] - points[:, 2:] * (light[:2] / light[2])
        hull = cv2.convexHull(on_table.astype(np.float32))[:, 0]
        self.ground(hull.astype(float), self.colour(self.style.table * 0.66))

    def cup(self, cup: Cup) -> None:
        """A tapered cup: its lit side in strips, its rim and its inside."""
        rgb = np.array(CUP_RGB[cup.colour]) * self.style.tint
        bottom, top, axis = _rings(cup)
        points, _ = self.view.project(np.concatenate([bottom, top]))
        low, high = points[:_SIDES], points[_SIDES:]
        centre = (bottom.mean(0) + top.mean(0)) / 2
        outward = (bottom + top) / 2 - centre
        outward = outward / np.linalg.norm(outward, axis=-1, keepdims=True)
        facing = ((self.view.eye - centre) * outward).sum(-1) > -0.01
        for i in range(_SIDES):
            j = (i + 1) % _SIDES
            if facing[i] or facing[j]:
                self.fill(np.stack([low[i], low[j], high[j], high[i]]), self.colour(rgb, outward[i]))
        open_seen = float(axis @ (self.view.eye - top.mean(0))) > 0
        if open_seen:
            self.fill(high, self.colour(np.minimum(rgb * 1.15 + 25, 255)))
            middle = high.mean(0)
            self.fill(middle + (high - middle) * 0.82, self.colour(rgb * 0.55))
        else:
            self.fill(low, self.colour(rgb * 0.8))


def _rings(cup: Cup) -> tuple[Floats, Floats, Floats]:
    """Bottom and top circles [20, 3] each, and the axis from bottom to top, of a standing or lying cup."""
    if not cup.fallen:
        bottom = cup.position + _RING * (CUP_RADIUS_M * _BOTTOM_TAPER)
        return bottom, cup.position + _RING * CUP_RADIUS_M + (0.0, 0.0, CUP_HEIGHT_M), np.array([0.0, 0.0, 1.0])
    axis = np.array([math.cos(cup.fall_rad), math.sin(cup.fall_rad), 0.0])
    across = np.array([-axis[1], axis[0], 0.0])
    ring = _RING[:, :1] * across + _RING[:, 1:2] * np.array([0.0, 0.0, 1.0])
    start = cup.position + np.array([0.0, 0.0, CUP_RADIUS_M])
    return start + ring * (CUP_RADIUS_M * _BOTTOM_TAPER), start + axis * CUP_HEIGHT_M + ring * CUP_RADIUS_M, axis


def cup_outline(cup: Cup) -> Floats:
    """Points [40, 3] whose hull is the cup."""
    return np.concatenate(_rings(cup)[:2])


def _finger_centre(pose: Pose, q: Floats, sign: int) -> Floats:
    offset = float(q[5]) * arm.HALF_GAP_M_PER_RAD + FINGER_THICKNESS_M / 2
    return pose.tip + sign * offset * pose.finger


def _arm_shadow(canvas: _Canvas, pose: Pose) -> None:
    half = 0.02 * pose.tangent
    for start, end in ((pose.shoulder, pose.elbow), (pose.elbow, pose.wrist)):
        canvas.shadow(np.stack([start - half, start + half, end - half, end + half]))
    span = 0.05 * pose.finger
    canvas.shadow(np.stack([pose.wrist - half, pose.wrist + half, pose.tip - span, pose.tip + span]))


def _draw_gripper_part(canvas: _Canvas, pose: Pose, q: Floats, part: int) -> None:
    """Part 0: the palm; parts -1 and 1: the fingers."""
    axes = np.stack([pose.approach, pose.finger, pose.side])
    if part == 0:
        canvas.box(pose.wrist + 0.025 * pose.approach, axes, (0.022, 0.058, 0.016), _DARK)
        return
    centre = _finger_centre(pose, q, part)
    reach = (arm.TOOL_M - 0.045 + PAD_HALF_HEIGHT_M) / 2
    shaft = centre + (PAD_HALF_HEIGHT_M - reach) * pose.approach
    canvas.box(shaft, axes, (reach, FINGER_THICKNESS_M / 2, PAD_HALF_WIDTH_M), _METAL)


def render(scene: Scene, camera: str, out: Image) -> None:
    """Draw `scene` as `camera` sees it into `out` uint8[480, 640, 3], RGB."""
    pose, style = arm.forward(scene.q), look(scene.seed)
    view = BASE if camera == "base" else wrist_view(pose)
    canvas = _Canvas(out, view, style)
    if camera == "base":
        out[:] = _empty_table(scene.seed)
    else:
        canvas.table()
    for cup in scene.cups:
        canvas.shadow(cup_outline(cup))
    _arm_shadow(canvas, pose)
    forearm_side = pose.tangent
    parts: list[tuple[float, int, object]] = []

    def add(middle: Floats, kind: int, what: object = None) -> None:
        parts.append((float(np.linalg.norm(middle - view.eye)), kind, what))

    for cup in scene.cups:
        add(cup.position + np.array([0.0, 0.0, CUP_HEIGHT_M / 2]), 0, cup)
    for sign in (-1, 1):
        add(_finger_centre(pose, scene.q, sign) - 0.02 * pose.approach, 1, sign)
    if camera == "base":
        add(pose.wrist + 0.025 * pose.approach, 1, 0)
        add((pose.elbow + pose.wrist) / 2, 2)
        add((pose.shoulder + pose.elbow) / 2, 3)
        add(pose.shoulder * (1, 1, 0.5), 4)
    for _, kind, what in sorted(parts, key=lambda p: -p[0]):
        if kind == 0:
            assert isinstance(what, Cup)
            canvas.cup(what)
        elif kind == 1:
            assert isinstance(what, int)
            _draw_gripper_part(canvas, pose, scene.q, what)
        elif kind == 2:
            canvas.bar(pose.elbow, pose.wrist, forearm_side, 0.034, 0.030, _METAL)
            canvas.bar(pose.elbow - 0.022 * forearm_side, pose.elbow + 0.022 * forearm_side,
                       (pose.wrist - pose.elbow) / arm.FOREARM_M, 0.04, 0.04, _SERVO)  # fmt: skip
        elif kind == 3:
            canvas.bar(pose.shoulder, pose.elbow, forearm_side, 0.040, 0.034, _METAL)
        else:
            radial = np.cross(pose.tangent, (0.0, 0.0, 1.0))
            foot = np.zeros(3)
            canvas.bar(foot, np.array([0.0, 0.0, 0.05]), pose.tangent, 0.11, 0.11, _DARK)
            canvas.bar(np.array([0.0, 0.0, 0.05]), pose.shoulder + np.array([0.0, 0.0, 0.02]) - 0.02 * radial,
                       pose.tangent, 0.055, 0.055, _SERVO)  # fmt: skip
    if scene.board is not None:
        boards.draw(scene.board, view.matrix, view.from_robot, out)
    start = (scene.time_ms // 33 * 17 + scene.seed) % 64
    cv2.add(out, _noise()[start : start + HEIGHT], dst=out)
    cv2.subtract(out, _NOISE_MEAN, dst=out)


@lru_cache(maxsize=8)
def _empty_table(seed: int) -> Image:
    """The base camera's picture of the bare table."""
    out = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    _Canvas(out, BASE, look(seed)).table()
    return out
