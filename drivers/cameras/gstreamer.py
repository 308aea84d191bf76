"""Cameras behind GStreamer: CSI on a Jetson, RTSP over a network, and any pipeline of your own.

| `device` | pipeline |
| --- | --- |
| `csi:0` | `nvarguscamerasrc sensor-id=0` in the asked mode |
| `rtsp://…` | `rtspsrc`, whatever decoder this machine has |
| `pipeline: v4l2src ! jpegdec` | yours, as `gst-launch-1.0` takes it, up to raw video of the asked size |

pip's OpenCV has no GStreamer, so the system's own does the work: `gst-launch-1.0` runs as a child process and writes
raw frames into a pipe. It decodes outside this process and its interpreter lock; if it hangs, it is killed. A queue of
one buffer in front of the pipe drops what nobody has come for. GStreamer's stamps do not cross the pipe: a frame is
stamped when its first byte is seen, or, if it waited, when the one before it had been read: never later than it came.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress

import numpy as np

from drivers.cameras.base import Camera, CameraSettings, Frame, Stamp
from drivers.errors import Disconnected, DriverError, Timeout
from drivers.gst_launch import INSTALL, LAUNCH, pipeline, reason
from drivers.masked import masked

OPEN_S = 15.0
"""Longest wait for the first frame: an RTSP session begins with a key frame, GStreamer's first start with a search."""
CLOSE_S = 1.0
"""How long a pipeline may take to end by itself before it is killed."""
FOLLOWS_S = 0.002
"""How soon after a frame that waited the next one begins, if the queue holds one."""
LARGEST_PIPE = 1 << 20
"""Bytes; the kernel's own limit for anybody but root (/proc/sys/fs/pipe-max-size)."""

_KEPT = 4096
"""Of what the child says on standard error."""


class Device(Camera):
    """One pipeline in a process of its own."""

    def __init__(self, settings: CameraSettings) -> None:
        super().__init__(settings)
        pipeline(settings, 0)
        self._size = settings.width * settings.height * 3
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._poll = select.poll()
        self._said = b""
        self._scrap = np.zeros((settings.height, settings.width, 3), np.uint8)
        self._frame_id = -1
        self._got = 0
        """Bytes that have come of the frame that is coming. Outlives a call that times out."""
        self._idle_ns = 0
        """When the last frame had been read; what came after it came later."""

    def open(self) -> None:
        """Start the pipeline and wait for its first frame, which is not handed out."""
        self.close()
        launch = shutil.which(LAUNCH)
        if launch is None:
            raise Disconnected(f"{self._name()}: there is no {LAUNCH} on this machine: {INSTALL}")
        self._start(launch)
        try:
            self._read_frame(self._scrap, time.monotonic_ns() + int(OPEN_S * 1e9))
        except Timeout:
            self.close()
            raise Disconnected(f"{self._name()}: no frame within {OPEN_S:g} s") from None
        except DriverError:
            self.close()
            raise

    def read_into(self, frame: Frame, timeout_s: float) -> Stamp:
        if frame.shape != self._scrap.shape:
            raise DriverError(f"{self._name()}: a frame {self._scrap.shape} does not fit a buffer {frame.shape}")
        end_ns = time.monotonic_ns() + int(timeout_s * 1e9)
        if self._got:  # its beginning went into an earlier call's buffer
            self._read_frame(self._scrap, end_ns)
        waiting, since_ns = self._waiting(), self._idle_ns
        for _ in range(waiting):
            capture_ns = self._read_frame(frame, end_ns, begun_ns=since_ns)
        if not waiting or self._ready(FOLLOWS_S):
            capture_ns = self._read_frame(frame, end_ns)
        return Stamp(self._frame_id, capture_ns, "dequeue")

    def close(self) -> None:
        """End the child: asked first, killed if it does not, and never left as a zombie."""
        child, self._child = self._child, None
        if child is None:
            return
        os.close(self._pipe)
        child.send_signal(signal.SIGINT)
        try:
            child.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stderr is not None:
            child.stderr.close()

    def _start(self, launch: str) -> None:
        """The child dies with the thread that started it, even if that is killed: a pipeline without frames never
        notices by itself that nobody reads its pipe any more."""
        self._pipe, write = os.pipe()
        with suppress(OSError):  # many pipes of one user have a common limit; a small one only costs turns
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _pipe_size(self._size))
        setpriv = shutil.which("setpriv")
        guard = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
        words = [*guard, launch, "-q", *pipeline(self.settings, write)]
        try:
            self._child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(write,),
                start_new_session=True,  # Ctrl-C is for us; we end it
            )
        except OSError as error:
            os.close(self._pipe)
            raise Disconnected(f"{self._name()}: {LAUNCH} does not start: {error.strerror}") from error
        finally:
            os.close(write)
        self._said, self._got = b"", 0
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)
        self._poll.register(self._stderr(), select.POLLIN)

    def _read_frame(self, frame: Frame, end_ns: int, begun_ns: int = 0) -> int:
        """Read the rest of the frame that is coming into `frame`; when it began to come, or `begun_ns` if given.

        Raises `Timeout` at `end_ns`; what has come by then is kept in mind.
        """
        pixels = frame.data.cast("B")
        while self._got < self._size:
            if not self._ready((end_ns - time.monotonic_ns()) / 1e9):
                raise Timeout(f"{self._name()}: no frame in the time given")
            begun_ns = begun_ns or time.monotonic_ns()
            count = os.readv(self._pipe, [pixels[self._got :]])
            if count == 0:
                raise self._over()
            self._got += count
        self._got, self._idle_ns = 0, time.monotonic_ns()
        self._frame_id += 1
        return begun_ns

    def _waiting(self) -> int:
        """How many frames have begun to come, by the bytes that lie in the pipe."""
        self._open_child()
        count = int.from_bytes(fcntl.ioctl(self._pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
        return -(-count // self._size)

    def _ready(self, timeout_s: float) -> bool:
        """Wait until the pipe has bytes or has ended. What the child says meanwhile is kept."""
        self._open_child()
        end_s = time.monotonic() + max(0.0, timeout_s)
        while True:
            left_ms = max(0.0, end_s - time.monotonic()) * 1e3
            ready = [fd for fd, _ in self._poll.poll(left_ms)]
            if self._pipe in ready:
                return True
            if not ready:
                return False
            self._listen()

    def _listen(self) -> None:
        """Take what the child said; a full pipe there would stop it."""
        said = os.read(self._stderr(), _KEPT)
        self._said = (self._said + said)[-_KEPT:]
        if not said:
            self._poll.unregister(self._stderr())

    def _over(self) -> Disconnected:
        """The pipeline has ended: in its own words."""
        child = self._open_child()
        with suppress(subprocess.TimeoutExpired):
            child.wait(CLOSE_S)
        os.set_blocking(self._stderr(), False)
        with suppress(BlockingIOError):
            while said := os.read(self._stderr(), _KEPT):
                self._said += said
        why, settings = masked(reason(self._said)), self.settings
        if "not-negotiated" in why or "can't handle caps" in why:
            why += f": are its pictures {settings.width}x{settings.height}?"
        return Disconnected(f"{self._name()}: the pipeline has ended: {why}")

    def _open_child(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise Disconnected(f"{self._name()}: not open; call open first")
        return self._child

    def _stderr(self) -> int:
        stream = self._open_child().stderr
        assert stream is not None  # Popen was asked for one
        return stream.fileno()

    def _name(self) -> str:
        return f"camera {self.settings.name}: {masked(self.settings.device)}"


def _pipe_size(frame_bytes: int) -> int:
    """Less than a frame, so that no more than one is under way; a power of two, as the kernel would make it."""
    below = (frame_bytes - 1).bit_length() - 1
    return min(LARGEST_PIPE, max(4096, int(2**below)))
