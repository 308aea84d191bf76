"""How a simulated camera's frames travel: a Unix stream socket that the client asks for one frame at a time.

On connecting, the client gets a header without pixels that says the camera's mode. Then each byte it sends asks for
the newest frame that it has not had yet, which comes as a header and height × width × 3 bytes of RGB. A client that
asks late gets the newest frame, and nothing piles up.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from drivers.errors import ProtocolError

_LAYOUT = struct.Struct("<4sHHHHfQQ")
_MAGIC = b"SIMF"
_VERSION = 1
HEADER_SIZE = _LAYOUT.size
ASK = b"\n"


@dataclass(frozen=True)
class Header:
    """Mode and stamp of a frame; `frame_id` 0 is the header without pixels. `capture_ns` is CLOCK_MONOTONIC."""

    width: int
    height: int
    fps: float
    frame_id: int = 0
    capture_ns: int = 0

    def pack(self) -> bytes:
        return _LAYOUT.pack(_MAGIC, _VERSION, 3, self.width, self.height, self.fps, self.frame_id, self.capture_ns)

    @staticmethod
    def unpack(data: bytes | bytearray | memoryview) -> Header:
        """`ProtocolError` if these bytes are not a header of this version."""
        magic, version, channels, width, height, fps, frame_id, capture_ns = _LAYOUT.unpack(data)
        if (magic, version, channels) != (_MAGIC, _VERSION, 3):
            raise ProtocolError("no camera of this release's simulator answers: start both from one release")
        return Header(width, height, fps, frame_id, capture_ns)
