"""No password in a message."""

from __future__ import annotations

import pytest

from drivers.masked import masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://eye:hunter2@host:554/live", "rtsp://eye:***@host:554/live"),
        ("rtsp://eye:hun@ter/2 x:y@host/live", "rtsp://eye:***@host/live"),
        ("pipeline: rtspsrc location=rtsp://eye:p@host ! x", "pipeline: rtspsrc location=rtsp://eye:***@host ! x"),
        ("pipeline: rtspsrc user-id=eye user-pw=hunter2 ! x", "pipeline: rtspsrc user-id=eye user-pw=*** ! x"),
        ("pipeline: souphttpsrc proxy-pw = 'hun ter2' ! x", "pipeline: souphttpsrc proxy-pw = *** ! x"),
        ("http://host/video?user=eye&Password=hunter2&n=1", "http://host/video?user=eye&Password=***&n=1"),
    ],
)
def test_a_password_is_not_shown(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize("text", ["", "/dev/video0", "csi:0", "rtsp://host:554/live", "rtsp://eye@host/live", "a: b@c"])
def test_what_has_none_stays_as_it_is(text: str) -> None:
    assert masked(text) == text
