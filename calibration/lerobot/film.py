"""The mp4 files of one camera: episodes one behind the other, a new file between two where the last one is full."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from calibration.datasets.base import Frame
from calibration.lerobot.info import CHUNKS_SIZE, VIDEO_PATH

FULL_MB = 200
"""LeRobot's own limit for a file, huggingface/lerobot 0.4.4, datasets/utils.py."""
CODEC = "libx264"
PIXELS = "yuv420p"
_OPTIONS = {"g": "2", "crf": "18"}
"""A key frame every second frame, as LeRobot has it, so that any frame is found at once."""


class Film:
    """Frames of `height` × `width`, both even, to files below `folder`. Raises `OSError` and `av.FFmpegError`."""

    def __init__(self, folder: Path, key: str, height: int, width: int, fps: int) -> None:
        self._folder = folder
        self._key = key
        self._size = (height, width)
        self._fps = fps
        self._number = 0
        self._frames = 0
        self._bytes = 0
        self._file: tuple[OutputContainer, VideoStream] | None = None

    def episode(self, frames: Iterable[Frame]) -> dict[str, int | float]:
        """Write an episode; where it is, under LeRobot's names."""
        if self._file is not None and self._bytes >= FULL_MB << 20:
            self.close()
            self._number, self._frames, self._bytes = self._number + 1, 0, 0
        container, stream = self._file = self._file or self._open()
        first = self._frames
        for frame in frames:
            self._write(container, stream, frame)
        chunk, file = divmod(self._number, CHUNKS_SIZE)
        times = {"from_timestamp": first / self._fps, "to_timestamp": self._frames / self._fps}
        return {"chunk_index": chunk, "file_index": file, **times}

    def close(self) -> None:
        """Write what the encoder holds back, and end the file."""
        file, self._file = self._file, None
        if file is not None:
            container, stream = file
            try:
                container.mux(stream.encode(None))
            finally:
                container.close()

    def _path(self) -> Path:
        chunk, file = divmod(self._number, CHUNKS_SIZE)
        return self._folder / VIDEO_PATH.format(video_key=self._key, chunk_index=chunk, file_index=file)

    def _open(self) -> tuple[OutputContainer, VideoStream]:
        path = self._path()
        path.parent.mkdir(parents=True, exist_ok=True)
        container = av.open(str(path.absolute()), "w", format="mp4")
        stream = cast(VideoStream, container.add_stream(CODEC, rate=self._fps, options=_OPTIONS))
        stream.height, stream.width = self._size
        stream.pix_fmt = PIXELS
        return container, stream

    def _write(self, container: OutputContainer, stream: VideoStream, rgb: Frame) -> None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame.pts = self._frames
        packets = stream.encode(frame)
        container.mux(packets)
        self._frames += 1
        self._bytes += sum(packet.size for packet in packets)
