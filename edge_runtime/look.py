"""A look through a robot's cameras: each opened in its mode, as a run would open it, and watched for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from drivers.cameras.base import Frame
from drivers.errors import DriverError
from drivers.masked import masked
from edge_runtime import config
from edge_runtime.devices import make_camera
from edge_runtime.errors import EdgeError
from edge_runtime.observation import CameraThread

FIRST_FRAME_S = 5.0
"""How long a camera may take to its first frame."""


@dataclass
class Look:
    """What was seen of one camera. `error` is "" where nothing is wrong."""

    camera: config.Camera
    error: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    """As in a run (`CameraThread.counts`)."""
    frame: Frame | None = None
    """The newest."""
    captured_ns: list[int] = field(default_factory=list)
    ages_ns: list[int] = field(default_factory=list)
    """For each frame seen, when it was captured and how old it was as it came."""

    @property
    def rate_hz(self) -> float:
        """Frames a second by their own stamps; 0 with fewer than two."""
        span_ns = self.captured_ns[-1] - self.captured_ns[0] if len(self.captured_ns) > 1 else 0
        periods = max(len(self.captured_ns) - 1, self.counts.get("frames", 0))  # none that came while we did not look
        return periods * 1e9 / span_ns if span_ns else 0.0

    @property
    def stamp(self) -> str:
        """Who stamps the frames: "device", "dequeue", "both" in turn, "" before the first."""
        frames, by_device = self.counts.get("frames", 0), self.counts.get("stamped by device", 0)
        if not frames:
            return ""
        return {0: "dequeue", frames: "device"}.get(by_device, "both")

    def summary(self) -> dict[str, Any]:
        """For programs; times in ms."""
        camera = self.camera
        ages_ms = np.array(self.ages_ns) / 1e6
        return {
            "name": camera.name,
            "kind": camera.kind,
            "device": masked(camera.device),
            "mode": {"width": camera.width, "height": camera.height, "fps": camera.fps, "format": camera.format},
            "error": self.error or None,
            "rate_hz": round(self.rate_hz, 2),
            "stamp": self.stamp,
            "age_ms": {"p50": round(float(np.median(ages_ms)), 2), "max": round(float(ages_ms.max()), 2)}
            if self.ages_ns
            else None,
            "counts": self.counts,
        }


def look(cameras: Sequence[config.Camera], seconds: float) -> list[Look]:
    """Open all of `cameras`, as one line may not carry them all, and watch them for `seconds`.

    What is wrong with one is its `error`, and no reason not to look through the others.
    """
    arrived = threading.Event()
    watches = [_Watch(camera, arrived) for camera in cameras]
    try:
        for watch in watches:
            watch.open()
        end_s = time.monotonic() + FIRST_FRAME_S
        while not all(watch.sees for watch in watches) and time.monotonic() < end_s:
            _sample(watches, arrived)
        for watch in watches:
            watch.begin()
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            _sample(watches, arrived)
        return [watch.end() for watch in watches]
    finally:
        for watch in watches:
            watch.close()


def _sample(watches: Sequence[_Watch], arrived: threading.Event) -> None:
    arrived.wait(0.05)
    arrived.clear()
    for watch in watches:
        watch.sample()


class _Watch:
    """One camera while it is looked through."""

    def __init__(self, camera: config.Camera, arrived: threading.Event) -> None:
        self._look = Look(camera)
        self._arrived = arrived
        self._thread: CameraThread | None = None
        self._before: dict[str, int] = {}

    @property
    def sees(self) -> bool:
        """Whether there is anything to see, or nothing to wait for."""
        return bool(self._look.error or self._look.captured_ns)

    def open(self) -> None:
        try:
            thread = CameraThread(
                make_camera(self._look.camera), arrived=self._arrived, report=lambda _, cause: self._wrong(cause)
            )
            thread.start()
        except (DriverError, EdgeError) as error:
            self._wrong(str(error))
        else:
            self._thread = thread

    def sample(self) -> None:
        """Note the newest frame, if it is a new one."""
        look, thread = self._look, self._thread
        if thread is None or thread.capture_ns in (0, *look.captured_ns[-1:]):
            return
        captured_ns = thread.capture_ns
        look.captured_ns.append(captured_ns)
        look.ages_ns.append(time.monotonic_ns() - captured_ns)

    def begin(self) -> None:
        """What counts is counted from now on: the first frames of a camera come as they like."""
        del self._look.captured_ns[:-1], self._look.ages_ns[:-1]
        self._before = dict(self._thread.counts) if self._thread else {}

    def end(self) -> Look:
        look, thread = self._look, self._thread
        if thread is None:
            return look
        self.sample()
        look.counts = {name: count - self._before[name] for name, count in thread.counts.items()}
        picture = thread.pictures.take()
        look.frame = None if picture is None else picture.pixels.copy()
        if not look.captured_ns:
            self._wrong(f"camera {look.camera.name}: no frame within {FIRST_FRAME_S:g} s")
        return look

    def close(self) -> None:
        if self._thread is not None:
            self._thread.stop()

    def _wrong(self, what: str) -> None:
        self._look.error = self._look.error or what
