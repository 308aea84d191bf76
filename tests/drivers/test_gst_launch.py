"""What `gst-launch-1.0` is told for each camera, and what is made of what it says: texts of GStreamer 1.22."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import gst_launch
from drivers.cameras.base import CameraSettings
from drivers.errors import DriverError
from drivers.gst_launch import pipeline, reason


def settings(device: str) -> CameraSettings:
    return CameraSettings("base", device, 64, 48, 30.0)


@pytest.mark.parametrize(
    ("device", "begins"),
    [
        ("csi:1", "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=64,height=48,framerate=30/1 ! "),
        (
            "rtsp://eye:pass word@host/live?a=b",
            "rtspsrc location=rtsp://eye:pass word@host/live?a=b protocols=tcp latency=0 ! application/x-rtp",
        ),
        ("pipeline: videotestsrc name='a b' ! jpegdec", "videotestsrc name=a b ! jpegdec ! videoconvert ! "),
    ],
)
def test_the_pipeline_of_each_kind(device: str, begins: str) -> None:
    words = pipeline(settings(device), 7)
    assert " ".join(words).startswith(begins)
    assert " ".join(words).endswith("max-size-time=0 leaky=downstream ! fdsink fd=7 sync=false")
    assert "video/x-raw,format=RGB,width=64,height=48" in words
    assert sum("pass word" in word for word in words) <= 1, "an address stays one word"


@pytest.mark.parametrize(("fps", "rate"), [(30.0, "30/1"), (29.97, "30000/1001"), (59.94, "60000/1001")])
def test_rates_are_fractions(fps: float, rate: str) -> None:
    assert gst_launch._fraction(fps) == rate


@pytest.mark.parametrize("device", ["/dev/video0", "csi:", "csi:left", "pipeline:", "http://host/x"])
def test_a_device_that_is_none_of_them(device: str) -> None:
    with pytest.raises(DriverError, match="is none of csi:NUMBER, rtsp://…"):
        pipeline(settings(device), 1)
    with pytest.raises(DriverError, match="quotes do not match"):
        pipeline(settings("pipeline: fakesrc name='a"), 1)


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (
            b"ERROR: from element /GstPipeline:pipeline0/GstRTSPSrc:rtspsrc0: Not found\n"
            b"Additional debug info:\n"
            b"../gst/rtsp/gstrtspsrc.c(6895): gst_rtspsrc_send (): /GstPipeline:pipeline0/GstRTSPSrc:rtspsrc0:\n"
            b"Not Found (404)\nERROR: pipeline doesn't want to preroll.\n",
            "Not found Not Found (404)",
        ),
        (
            b"ERROR: from element /GstPipeline:pipeline0/GstDecodeBin:d: Could not determine type of stream.\n"
            b"Additional debug info:\n../gsttypefindelement.c(1186): gst_type_find_element_loop (): /x\n"
            b"ERROR: pipeline doesn't want to preroll.\n",
            "Could not determine type of stream.",
        ),
        (b"WARNING: erroneous pipeline: syntax error\n\n", "syntax error"),
        (b"Killed\n", "Killed"),
        (b"", "it said nothing"),
    ],
)
def test_what_it_says_on_one_line(said: bytes, means: str) -> None:
    assert reason(said) == means


def test_a_missing_element_comes_with_what_to_install() -> None:
    assert reason(b'WARNING: erroneous pipeline: no element "nvarguscamerasrc"\n').startswith(
        'no element "nvarguscamerasrc": install what brings it (apt install gstreamer1.0-tools'
    )


@given(st.binary(max_size=400))
def test_whatever_it_says_is_one_line(said: bytes) -> None:
    assert reason(said).isprintable()
    assert reason(b"ERROR: " + said).isprintable()
