"""The camera contract: what a camera thread asks of a camera.

A driver file `drivers/cameras/<kind>.py` defines one subclass of `Camera` named `Device`.
Frames are RGB uint8 [height, width, 3], written into a buffer that the caller owns. A call releases the interpreter
lock while it waits. Calls raise only `drivers.errors.DriverError` and its subclasses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from drivers.errors import DriverError

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class CameraSettings:
    """One camera: a name for messages, where it is (`device`), and the mode it must deliver."""

    name: str
    device: str
    width: int
    height: int
    fps: float
    format: str = ""
    """Pixel format on the wire, "mjpg" or "yuyv"; whichever can do the mode where empty."""
    exposure_ms: float = 0.0
    """Exposure of every frame; 0 leaves it to the camera."""


@dataclass(frozen=True)
class Stamp:
    """Which frame this is and when it was captured (CLOCK_MONOTONIC ns)."""

    frame_id: int
    capture_ns: int
    source: Literal["device", "dequeue"]
    """Whether the device stamped the frame itself or we did when it was dequeued."""


class Camera(ABC):
    """A source of frames. Construct, `open`, then `read_into` over and over; `close` is safe at any time, and twice.

    Constructing one with a setting that its driver cannot carry out raises `DriverError`: none is ignored. It touches
    no device.
    """

    CAN_SET: ClassVar[frozenset[str]] = frozenset()
    """Which of the optional settings this driver carries out: "format", "exposure_ms"."""

    def __init__(self, settings: CameraSettings) -> None:
        self.settings = settings
        for name in ("format", "exposure_ms"):
            if getattr(settings, name) and name not in self.CAN_SET:
                kind = type(self).__module__.rpartition(".")[2]
                raise DriverError(f'camera {settings.name}: kind "{kind}" cannot set {name}: take that line out')

    @abstractmethod
    def open(self) -> None:
        """Open the device in the asked mode; raise `Disconnected` if it is absent or cannot do that mode."""

    @abstractmethod
    def read_into(self, frame: Frame, timeout_s: float) -> Stamp:
        """Wait for the next frame and write it into `frame` [height, width, 3]; raise `Timeout` after `timeout_s`."""

    @abstractmethod
    def close(self) -> None:
        """Release the device."""
