"""Frames of video files by their time: read on where the next one is wanted, sought only where it is not.

A pool keeps a few files open, since episodes of a LeRobotDataset share them and cameras are read in turns.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from calibration.datasets.base import DatasetError, Frame, Frames
from calibration.lerobot.episodes import Clip

_OPEN_FILES = 16
_AHEAD = 16
"""Frames that are decoded for nothing rather than sought over."""
_ROOM_PIXELS = 1 << 20
"""What a codec may ask for where the picture that was promised is small: more than that is damage."""

Shape = tuple[int, int, int]


class _Timed(NamedTuple):
    at_s: float
    frame: VideoFrame


class _Video:
    """One open file of which the last two decoded frames are kept, so that the nearer to a time can be told.

    Raises `ValueError` with the reason, or `av.FFmpegError`.
    """

    def __init__(self, path: Path, shape: Shape, rate_hz: float) -> None:
        self._shape = shape
        self._ahead_s = _AHEAD / rate_hz
        self._slack_s = 0.5 / rate_hz
        # an absolute path and one format: neither a name nor a playlist inside leads to other files or hosts
        self._container: InputContainer = av.open(str(path.absolute()), format="mp4", metadata_errors="replace")
        try:
            self._stream = self._prepared()
        except ValueError:
            self.close()
            raise
        self._frames: Iterator[_Timed] = iter(())
        self._before: _Timed | None = None
        self._next: _Timed | None = None
        self._failure = ""

    def _prepared(self) -> VideoStream:
        """The first video stream, one thread its own, strict, and unable to ask for more than it needs."""
        stream = next(iter(self._container.streams.video), None)
        codec = None if stream is None else getattr(stream, "codec_context", None)  # None where there is no decoder
        if stream is None or codec is None:
            raise ValueError("the file has no video that can be decoded")
        codec.thread_count = 1
        room = max(_ROOM_PIXELS, 4 * self._shape[0] * self._shape[1])
        codec.options = {"err_detect": "explode", "max_pixels": str(room)}
        return stream

    def close(self) -> None:
        self._container.close()

    def frame(self, at_s: float) -> Frame:
        """The frame nearest to `at_s`, at most half a frame away."""
        found = self._nearest(at_s)
        if found is None or abs(found.at_s - at_s) > self._slack_s:
            self._before = None  # look again the next time
            raise ValueError(self._failure or f"no frame at {at_s:.3f} s")
        frame = found.frame
        if frame.is_corrupt:
            raise ValueError(f"the frame at {at_s:.3f} s is damaged")
        if (frame.height, frame.width) != self._shape[:2]:
            raise ValueError(f"a frame of {frame.height}×{frame.width}, {self._shape[0]}×{self._shape[1]} was promised")
        return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)

    def _nearest(self, at_s: float) -> _Timed | None:
        if self._before is None or not self._before.at_s <= at_s <= self._before.at_s + self._ahead_s:
            self._seek(at_s)
        while self._next is not None and self._next.at_s < at_s:
            self._before, self._next = self._next, self._read()
        near = [timed for timed in (self._before, self._next) if timed is not None]
        return min(near, key=lambda timed: abs(timed.at_s - at_s), default=None)

    def _seek(self, at_s: float) -> None:
        """Go to the last key frame before `at_s`; to the beginning where the file's index misleads."""
        self._before = None
        for target_s in (at_s, 0.0):
            self._failure = ""
            self._container.seek(max(0, int(target_s * av.time_base) - 1), backward=True)
            self._frames = self._decode()
            self._before = self._read()
            if self._before is not None and self._before.at_s <= at_s + self._slack_s:
                break
        self._next = self._read()

    def _read(self) -> _Timed | None:
        """The next frame; None at the end and where decoding fails, with the reason in `_failure`."""
        try:
            return next(self._frames, None)
        except (av.FFmpegError, ValueError) as error:
            self._failure = f"does not decode: {getattr(error, 'strerror', None) or error}"
            self._frames = iter(())
            return None

    def _decode(self) -> Iterator[_Timed]:
        for frame in self._container.decode(self._stream):
            if frame.time is not None:
                yield _Timed(frame.time, frame)


class Videos:
    """Open video files, the least recently used closed first. Threads may share it."""

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._open: OrderedDict[Path, _Video] = OrderedDict()
        self._lock = threading.Lock()

    def frames(self, clip: Clip, shape: Shape, times_s: list[float], where: str) -> Frames:
        """Frames of one camera over one episode, by the times of its steps; `where` names file, episode and camera."""
        return _ClipFrames(self, clip, shape, times_s, where)

    def frame(self, path: Path, shape: Shape, at_s: float) -> Frame:
        """The frame of `path` nearest to `at_s`, at most half a frame away; `ValueError` with the reason for none."""
        with self._lock:
            try:
                return self._video(path, shape).frame(at_s)
            except (av.FFmpegError, OSError, MemoryError) as error:
                raise ValueError(f"cannot be read as mp4: {getattr(error, 'strerror', None) or error}") from error

    def _video(self, path: Path, shape: Shape) -> _Video:
        video = self._open.pop(path, None)
        if video is None:
            while len(self._open) >= _OPEN_FILES:
                self._open.popitem(last=False)[1].close()
            video = _Video(path, shape, self._rate_hz)
        self._open[path] = video
        return video


class _ClipFrames(Frames):
    """One episode's frames, decoded when taken."""

    def __init__(self, videos: Videos, clip: Clip, shape: Shape, times_s: list[float], where: str) -> None:
        self._videos = videos
        self._clip = clip
        self._shape = shape
        self._times_s = times_s
        self._where = where

    def __len__(self) -> int:
        return len(self._times_s)

    def __getitem__(self, step: int, /) -> Frame:
        try:
            return self._videos.frame(self._clip.path, self._shape, self._clip.from_s + self._times_s[step])
        except ValueError as error:
            raise DatasetError(f"{self._where}, step {step}: {error}") from error
