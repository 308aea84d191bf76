"""A camera that plays stored pictures, paced and stamped like a real one.

`device` is a folder of images (JPEG, PNG, …; in the order of their names) or an .npy file of uint8 RGB pictures
[T, height, width, 3]. With "?loop" behind it, it begins again at the end; without, it falls silent after the last
picture, as a camera does that stops: every later read raises `Timeout`. Picture k is captured at start + k / fps, start
being the first `open`; opened again, it goes on, and stays silent once it was. A reader that comes late gets the newest
picture that is due, never an old one. `play` gives it other pictures at any time; with `device = "play"` it waits for
that.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from drivers.cameras.base import Camera, CameraSettings, Frame, Stamp
from drivers.errors import Corrupt, Disconnected, DriverError, Timeout


class Pictures(Protocol):
    """T pictures, RGB uint8 [height, width, 3]: a stack, or something that decodes them when they are taken."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Frame: ...


class Device(Camera):
    """The stored pictures as a camera."""

    def __init__(self, settings: CameraSettings) -> None:
        super().__init__(settings)
        self._path, _, suffix = settings.device.partition("?")
        if suffix not in ("", "loop"):
            raise self._refused(f'"?{suffix}" is unknown, only "?loop" can stand there')
        self._loop = suffix == "loop"
        self._period_ns = round(1e9 / settings.fps)
        self._tape = _NOTHING
        self._played = threading.Event()
        self._open = False
        self._frame_id = -1
        self._last_ns: int | None = None
        """When the last frame was captured."""
        self._shown = _NOTHING
        """What it was on."""

    def play(self, pictures: Pictures, start_ns: int, loop: bool = False) -> None:
        """Show `pictures` from `start_ns` (CLOCK_MONOTONIC) on; until then the first of them, at the same rate."""
        self._tape = _Tape(pictures, start_ns, loop)
        self._played.set()

    def open(self) -> None:
        if self._path != "play" and self._tape is _NOTHING:
            pictures = self._pictures(self._path)
            if len(pictures) == 0:
                raise self._refused("no pictures there")
            self._checked(pictures, 0)
            self.play(pictures, time.monotonic_ns(), loop=self._loop)
        self._open = True

    def read_into(self, frame: Frame, timeout_s: float) -> Stamp:
        if not self._open:
            raise self._refused("not open")
        end_ns = time.monotonic_ns() + int(timeout_s * 1e9)
        while True:
            self._played.clear()
            tape, now_ns = self._tape, time.monotonic_ns()
            following = self._following(tape, now_ns)
            index = max(following, (now_ns - tape.start_ns) // self._period_ns)
            over = index >= len(tape.pictures) and not tape.loop
            capture_ns = tape.start_ns + index * self._period_ns
            if not over and capture_ns <= now_ns:
                break
            if now_ns >= end_ns:
                what = (
                    f"after the last of {len(tape.pictures)} pictures" if over else f"within {timeout_s * 1e3:.0f} ms"
                )
                raise Timeout(f"camera {self.settings.name}: {self.settings.device}: no frame {what}")
            self._played.wait(((end_ns if over else min(capture_ns, end_ns)) - now_ns) / 1e9)
        np.copyto(frame, self._checked(tape.pictures, max(index, 0) % len(tape.pictures)))
        self._frame_id += 1 + (index - following if tape is self._shown else 0)  # pictures that nobody came for count
        self._last_ns, self._shown = capture_ns, tape
        return Stamp(self._frame_id, capture_ns, "device")

    def _following(self, tape: _Tape, now_ns: int) -> int:
        """Index of the picture behind the last one that was shown, whatever tape that was on."""
        if self._last_ns is None:
            return (now_ns - tape.start_ns) // self._period_ns
        return (self._last_ns - tape.start_ns) // self._period_ns + 1

    def close(self) -> None:
        self._open = False

    def _checked(self, pictures: Pictures, index: int) -> Frame:
        """Picture `index`, of the size that was asked for."""
        try:
            picture = pictures[index]
        except ValueError as error:
            raise Corrupt(f"camera {self.settings.name}: {error}") from error
        have, want = picture.shape, (self.settings.height, self.settings.width, 3)
        if have != want:
            raise self._refused(f"pictures are {have[1]}x{have[0]}, but width and height ask for {want[1]}x{want[0]}")
        return picture

    def _pictures(self, path: str) -> Pictures:
        """What is stored at `path`. Raises `DriverError`."""
        return _Folder(Path(path)) if Path(path).is_dir() else self._stack(path)

    def _stack(self, path: str) -> Frame:
        try:
            stack = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise self._refused(getattr(error, "strerror", None) or "neither a folder nor an .npy file") from error
        if not isinstance(stack, np.ndarray) or stack.dtype != np.uint8 or stack.ndim != 4 or stack.shape[3] != 3:
            raise self._refused("not one array of uint8 [T, height, width, 3]")
        return stack

    def _refused(self, what: str) -> DriverError:
        return Disconnected(f"camera {self.settings.name}: {self.settings.device}: {what}")


class _Tape(NamedTuple):
    """Pictures, and when the first of them is captured."""

    pictures: Pictures
    start_ns: int
    loop: bool


_NOTHING = _Tape([], 0, False)


class _Folder:
    """The images of a folder, decoded when they are taken."""

    def __init__(self, folder: Path) -> None:
        self._files = sorted(file for file in folder.iterdir() if file.is_file() and cv2.haveImageReader(str(file)))

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int, /) -> Frame:
        bgr = cv2.imread(str(self._files[index]), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if bgr is None:
            raise ValueError(f"{self._files[index]} does not decode as an image")
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
