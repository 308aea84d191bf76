"""The housekeeping thread keeps and logs every event, and outlives a request that breaks something."""

from __future__ import annotations

import logging
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.clock import FakeClock
from edge_runtime.control_socket import ControlSocket, Waiting, send
from edge_runtime.errors import CommandError
from edge_runtime.events import EventQueue
from edge_runtime.housekeeping import Housekeeping
from edge_runtime.record import Event


def handle(request: dict[str, Any]) -> Waiting:
    if request.get("cmd") == "break":
        raise ZeroDivisionError("a bug")
    return lambda: {"ok": True}


def test_events_are_logged_and_kept_and_a_broken_request_is_one_of_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="edge_runtime")
    clock = FakeClock(5)
    events, control = EventQueue(clock), ControlSocket(tmp_path / "control.sock", 0o600)
    kept: deque[Event] = deque()
    housekeeping = Housekeeping(control, handle, events, kept)
    housekeeping.start()
    events.report("HOLD", "a reason")
    with pytest.raises(CommandError, match="did not answer within"):
        send(tmp_path / "control.sock", {"cmd": "break"}, timeout_s=0.3)
    assert send(tmp_path / "control.sock", {"cmd": "status"})["ok"]
    events.report("SAFE", "at the very end")
    housekeeping.stop()
    control.close()
    told = [(event.t_ns, event.name, event.cause) for event in kept]
    assert told == [
        (5, "HOLD", "a reason"),
        (5, "housekeeping failed", "ZeroDivisionError: a bug"),
        (5, "SAFE", "at the very end"),
    ]
    assert caplog.messages == [f"{name}: {cause}" for _, name, cause in told]
