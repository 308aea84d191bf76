"""The words of `gst-launch-1.0`: the pipeline that it is told for a camera, and what it says when that fails."""

from __future__ import annotations

import re
import shlex

from drivers.cameras.base import CameraSettings
from drivers.errors import DriverError
from drivers.masked import masked

LAUNCH = "gst-launch-1.0"
INSTALL = "apt install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-libav"

_TAIL = (
    "videoconvert ! video/x-raw,format=RGB,width={width},height={height} ! "
    "queue max-size-buffers=1 max-size-bytes=0 max-size-time=0 leaky=downstream ! fdsink fd={fd} sync=false"
)
_CSI = (
    "nvarguscamerasrc sensor-id={place} ! video/x-raw(memory:NVMM),width={width},height={height},framerate={rate} ! "
    "nvvidconv ! video/x-raw,format=BGRx"
)
_RTSP = "rtspsrc location={place} protocols=tcp latency=0 ! application/x-rtp,media=video ! decodebin"
_ERROR = re.compile(r"(ERROR|WARNING): (from element \S+: |erroneous pipeline: )?")


def pipeline(settings: CameraSettings, fd: int) -> list[str]:
    """The words of the pipeline that writes `settings`' frames to `fd`. Raises `DriverError` for an unknown device."""
    kind, colon, place = settings.device.partition(":")
    if kind == "csi" and place.isdecimal():
        source = _words(_CSI, settings, place=place, rate=_fraction(settings.fps))
    elif kind in ("rtsp", "rtsps") and colon:
        source = _words(_RTSP, settings, place=settings.device)
    elif kind == "pipeline" and place.strip():
        source = _own(settings, place)
    else:
        raise DriverError(
            f'camera {settings.name}: "{masked(settings.device)}" is none of csi:NUMBER, rtsp://…, "pipeline: …"'
        )
    return [*source, "!", *_words(_TAIL, settings, fd=fd)]


def reason(said: bytes) -> str:
    """What gst-launch gave as its first error, on one line, with the last line of its details."""
    lines = [line for line in map(_printable, said.decode("utf-8", "replace").splitlines()) if line]
    first = next((k for k, line in enumerate(lines) if _ERROR.match(line)), None)
    if first is None:
        return lines[-1][:300] if lines else "it said nothing"
    more = lines[first + 3 : first + 4] if lines[first + 1 : first + 2] == ["Additional debug info:"] else []
    text = " ".join([_ERROR.sub("", lines[first]), *(line for line in more if not _ERROR.match(line))])
    if text.startswith("no element"):
        text += f": install what brings it ({INSTALL}; on a Jetson nvidia-l4t-gstreamer)"
    return text[:300]


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in line.strip())


def _words(text: str, settings: CameraSettings, **more: object) -> list[str]:
    """The words of `text` with its fields filled in; whatever is in one, it stays one word."""
    return [word.format(width=settings.width, height=settings.height, **more) for word in text.split()]


def _own(settings: CameraSettings, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise DriverError(f"camera {settings.name}: the pipeline's quotes do not match ({error})") from error


def _fraction(fps: float) -> str:
    """Frames a second as GStreamer writes them; 29.97 is 30000/1001 (SMPTE 170M)."""
    whole = round(fps)
    return f"{whole}/1" if abs(fps - whole) < 1e-3 else f"{round(fps * 1.001) * 1000}/1001"
