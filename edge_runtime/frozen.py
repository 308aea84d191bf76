"""How long each camera has shown the same picture while the arm moved: a camera that hangs may go on delivering.

The same picture again means nothing where nothing moves: a rendered scene, or one that a codec has smoothed, may be the
same to the last bit. Once a joint has turned by `MOVED_RAD` since the picture was new, it may not be any more: a real
sensor's noise alone changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edge_runtime.limits import Floats

MOVED_RAD = 0.1
"""6°: the smallest joint of an arm, its gripper, then has moved by several millimetres, which are several pixels."""


class Shown(Protocol):
    """What must be known of a camera."""

    frozen_ns: int
    """For how long it has delivered the same picture, by its stamps; 0 once it is another."""


class Frozen:
    """Owned by the control thread. Allocates nothing lasting."""

    def __init__(self, cameras: Sequence[Shown], joints: int) -> None:
        self._cameras = cameras
        self._where = [[0.0] * joints for _ in cameras]
        """Measured positions when each camera's picture was last new."""
        self._moved = [False] * len(cameras)
        """Whether a joint has since been elsewhere; it may have come back."""

    def check(self, measured_rad: Floats, out_ns: list[int]) -> None:
        """Once a tick: write for how long each camera's picture has been the same although the arm has moved."""
        positions = measured_rad.tolist()
        for index, camera in enumerate(self._cameras):
            frozen_ns = camera.frozen_ns
            if not frozen_ns:
                self._where[index], self._moved[index] = positions, False
            elif not self._moved[index]:
                ways = zip(positions, self._where[index], strict=True)
                self._moved[index] = any(abs(now - then) >= MOVED_RAD for now, then in ways)
            out_ns[index] = frozen_ns if self._moved[index] else 0
