"""Camera threads, and the newest frame of each joined with the newest joint state into an observation.

A camera that stalls or is unplugged is closed and opened again, later each time, while everything else goes on; how old
its newest frame is shows in `capture_ns`, which the watchdog reads.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from drivers.cameras.base import Camera, Frame, Stamp
from edge_runtime.device_thread import DeviceThread
from edge_runtime.events import Report
from edge_runtime.limits import Floats
from edge_runtime.link import Link
from edge_runtime.slot import Slot

STALL_FRAMES = 8
"""A camera that delivers nothing for this many frame periods has stalled."""
STALL_S = 0.25
"""… but never sooner than this."""
LATE_PERIODS = 0.5
"""A frame is late that arrives so much after it was due: a period after the last one, more where some were dropped."""
READERS = 2
"""Of a camera's pictures: 0 is the observer, 1 the black box."""
JOIN_S = 3.0
"""How long the end of the run waits beyond a read's own limit for a camera, whose driver may hang for ever."""


class Picture:
    """A frame buffer and when what is in it was captured."""

    __slots__ = ("capture_ns", "pixels")

    def __init__(self, height: int, width: int) -> None:
        self.pixels: Frame = np.zeros((height, width, 3), dtype=np.uint8)
        self.capture_ns = 0


class CameraThread(DeviceThread):
    """One camera's thread: every frame into the slot, newest wins."""

    def __init__(self, camera: Camera, *, arrived: threading.Event, report: Report, delay_ns: int = 0) -> None:
        """`delay_ns`: by how much the camera's stamps are later than what its frames show."""
        settings = camera.settings
        self._timeout_s = max(STALL_S, STALL_FRAMES / settings.fps)
        super().__init__(camera, f"camera {settings.name}", self._timeout_s + JOIN_S)
        self.name = settings.name
        self.capture_ns = 0
        """When what the newest frame shows was so, 0 before the first."""
        self.frozen_ns = 0
        """For how long it has delivered the same picture, by its stamps; 0 once it is another."""
        self.pictures = Slot(*(Picture(settings.height, settings.width) for _ in range(2 + READERS)))
        self.counts = {"frames": 0, "stamped by device": 0, "dropped": 0, "late": 0, "frozen": 0, "reopened": 0}
        """Frames; those that bear the device's own stamp, the others are stamped as they come; frames the device made
        and we never saw; frames that came late; frames with the same content again; times opened again."""
        self._camera = camera
        self._arrived = arrived
        self._report = report
        self._delay_ns = delay_ns
        self._period_ns = 1e9 / settings.fps
        self._frame_id = -1
        self._content = -1
        self._new_ns = 0
        """Stamp of the first frame with the present content."""
        self._came_ns = 0

    def read(self) -> None:
        """Wait for the next frame and publish it. Raises `DriverError`."""
        picture = self.pictures.back
        stamp = self._camera.read_into(picture.pixels, self._timeout_s)
        came_ns = time.monotonic_ns()
        picture.capture_ns = capture_ns = stamp.capture_ns - self._delay_ns
        self.pictures.publish()
        self.capture_ns = capture_ns
        self._arrived.set()
        content = zlib.crc32(picture.pixels.data)
        if content != self._content:
            self._new_ns = capture_ns
        self.frozen_ns = capture_ns - self._new_ns
        self._count(stamp, came_ns, content)

    def _count(self, stamp: Stamp, came_ns: int, content: int) -> None:
        self.counts["frames"] += 1
        self.counts["stamped by device"] += stamp.source == "device"
        self.counts["frozen"] += content == self._content
        if 0 <= self._frame_id < stamp.frame_id:
            periods = stamp.frame_id - self._frame_id
            self.counts["dropped"] += periods - 1
            self.counts["late"] += came_ns - self._came_ns > (periods + LATE_PERIODS) * self._period_ns
        self._frame_id, self._came_ns, self._content = stamp.frame_id, came_ns, content

    def _step(self) -> None:
        self.read()

    def _reopen(self) -> None:
        super()._reopen()
        self.counts["reopened"] += 1

    def _lose(self, error: Exception, *, first: bool) -> None:
        if first:
            self._report("camera lost", str(error))
        self._frame_id = -1


class Observer:
    """The newest frames and joint state, in the policy's own buffers. One thread calls `observe`."""

    def __init__(self, cameras: Sequence[CameraThread], frames: Mapping[str, NDArray[np.uint8]], link: Link) -> None:
        self._cameras = [(camera, frames[camera.name]) for camera in cameras if camera.name in frames]
        self.frames = {camera.name: frame for camera, frame in self._cameras}
        """The buffers of the cameras that this robot has; the policy's others stay empty."""
        self._seen_ns = [0] * len(self._cameras)
        self._link = link

    def observe(self, measured_rad: Floats) -> int:
        """Fill the frame buffers and `measured_rad` [n]; returns the capture time of the oldest frame among them.

        0, with the buffers as they were, until every camera has a frame that was not observed before.
        """
        if not all(camera.capture_ns > seen for (camera, _), seen in zip(self._cameras, self._seen_ns, strict=True)):
            return 0
        joints = self._link.joints.take()
        if joints is None:
            return 0
        measured_rad[:] = joints
        for index, (camera, frame) in enumerate(self._cameras):
            picture = camera.pictures.take()
            if picture is not None:
                np.copyto(frame, picture.pixels)
                self._seen_ns[index] = picture.capture_ns
        return min(self._seen_ns)
