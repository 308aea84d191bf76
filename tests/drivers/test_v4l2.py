"""What is read from V4L2's structures, on bytes: sizes and codes are those that a C compiler gave for videodev2.h."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import v4l2
from drivers.v4l2 import Mode

WEBCAM = {
    (b"MJPG", 640, 480): [(1, 30), (1, 15)],
    (b"MJPG", 1280, 720): [(1, 30)],
    (b"YUYV", 640, 480): [(1001, 30000)],
    (b"YUYV", 1280, 720): [(1, 10)],
}
MODES = (
    Mode("MJPG", 640, 480, 30.0),
    Mode("MJPG", 640, 480, 15.0),
    Mode("MJPG", 1280, 720, 30.0),
    Mode("YUYV", 640, 480, 29.97),
    Mode("YUYV", 1280, 720, 10.0),
)


def webcam(request: int, argument: bytes) -> bytes:
    """A UVC camera's answers, from WEBCAM."""
    codes = list(dict.fromkeys(code for code, _, _ in WEBCAM))
    (index,) = struct.unpack_from("I", argument)
    try:
        if request == v4l2.ENUM_FMT:
            assert struct.unpack_from("I", argument, 4) == (1,), "of video capture"
            return argument[:12] + b"Motion-JPEG".ljust(32, b"\0") + codes[index] + argument[48:]
        code = argument[4:8]
        if request == v4l2.ENUM_FRAMESIZES:
            sizes = [(w, h) for known, w, h in WEBCAM if known == code]
            return argument[:8] + struct.pack("3I", 1, *sizes[index]) + argument[20:]
        width, height = struct.unpack_from("2I", argument, 8)
        return argument[:16] + struct.pack("3I", 1, *WEBCAM[code, width, height][index]) + argument[28:]
    except IndexError:
        raise OSError(errno.EINVAL, "Invalid argument") from None


def test_requests_are_those_of_the_header() -> None:
    assert v4l2.QUERYCAP == 0x80685600
    assert v4l2.ENUM_FMT == 0xC0405602
    assert v4l2.ENUM_FRAMESIZES == 0xC02C564A
    assert v4l2.ENUM_FRAMEINTERVALS == 0xC034564B


def test_the_modes_of_a_webcam() -> None:
    assert tuple(v4l2.list_modes(webcam)) == MODES


def capability(whole: int, device: int) -> bytes:
    return struct.pack("16s32s32s3I12x", b"uvcvideo", b"HD Cam\x1b: HD", b"usb-0000:00:14.0-1", 0x60100, whole, device)


@pytest.mark.parametrize(
    ("whole", "device", "captures"),
    [(0x84A00001, 0x04200001, True), (0x84A00001, 0x04A00000, False), (0x04000001, 0, True), (0x04000002, 1, False)],
)
def test_what_a_device_is(whole: int, device: int, captures: bool) -> None:
    """A camera's metadata node says what the whole camera can, and of itself that it captures no video."""
    assert v4l2.parse_capability(capability(whole, device)) == ("HD Cam?: HD", "usb-0000:00:14.0-1", captures)


def test_a_camera_that_takes_any_size_and_rate() -> None:
    size = struct.pack("I4sI6I8x", 0, b"YUYV", 3, 48, 1920, 2, 32, 1080, 2)
    assert v4l2.parse_size(size) == [(48, 32), *v4l2._USUAL_SIZES[:5]]
    interval = struct.pack("I4s3I6I8x", 0, b"YUYV", 640, 480, 3, 1, 60, 1, 1, 1, 1)
    assert v4l2.parse_interval(interval) == [60.0, 1.0]


@given(st.binary(min_size=104, max_size=104), st.binary(min_size=44, max_size=44), st.binary(min_size=52, max_size=52))
def test_whatever_a_driver_answers_is_read(capability: bytes, size: bytes, interval: bytes) -> None:
    name, bus, _ = v4l2.parse_capability(capability)
    assert (name + bus).isprintable()
    assert v4l2.parse_size(size)
    assert all(fps >= 0 for fps in v4l2.parse_interval(interval))
    assert v4l2.parse_code(size[:4]).isascii()


def test_a_driver_that_never_ends_its_lists() -> None:
    def endless(request: int, argument: bytes) -> bytes:
        at = {v4l2.ENUM_FMT: 48, v4l2.ENUM_FRAMESIZES: 8, v4l2.ENUM_FRAMEINTERVALS: 16}[request]
        return argument[:at] + struct.pack("3I", 1, 1, 1) + argument[at + 12 :]

    assert len(list(v4l2.list_modes(endless))) == v4l2.MOST_MODES


def test_a_driver_that_fails_is_not_taken_for_the_end() -> None:
    def broken(request: int, argument: bytes) -> bytes:
        raise OSError(errno.ENODEV, "No such device")

    with pytest.raises(OSError, match="No such device"):
        list(v4l2.list_modes(broken))


def test_the_nearest_modes_in_words() -> None:
    assert v4l2.nearest(MODES, 1280, 720, 30.0, most=2) == (
        "it can do MJPG 1280x720 at 30, YUYV 1280x720 at 10 and 3 more (edge cameras)"
    )
    assert v4l2.nearest(MODES[:1], 8, 8, 5.0) == "it can do MJPG 640x480 at 30"
    assert v4l2.nearest((), 8, 8, 5.0) == "the device lists no modes"


def test_names_that_stay(tmp_path: Path) -> None:
    links = tmp_path / "v4l" / "by-id"
    links.mkdir(parents=True)
    for number in (0, 2, 10):
        (tmp_path / f"video{number}").touch()
    (tmp_path / "video-codec").touch()
    (links / "usb-HD_Cam-video-index0").symlink_to("../../video2")
    assert v4l2.stable_name(tmp_path / "video2", tmp_path) == str(links / "usb-HD_Cam-video-index0")
    assert v4l2.stable_name(links / "usb-HD_Cam-video-index0", tmp_path) == str(links / "usb-HD_Cam-video-index0")
    assert v4l2.stable_name(tmp_path / "video0", tmp_path) == ""
    found = v4l2.cameras(tmp_path)
    assert [Path(camera.path).name for camera in found] == ["video0", "video2", "video10"]
    assert found[1].stable.endswith("usb-HD_Cam-video-index0")
    assert {camera.name for camera in found} == {"cannot be asked: Inappropriate ioctl for device"}
    assert v4l2.modes(tmp_path / "video0") == ()
    assert v4l2.modes(tmp_path / "none") == ()
