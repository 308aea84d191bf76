"""What a run leaves behind where its process must end."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_runtime import app, report
from edge_runtime.errors import DeviceLost, InferenceHung
from edge_runtime.events import Event
from edge_runtime.record import RunRecord
from tests.edge_runtime.test_app import Parts


@pytest.mark.parametrize(("name", "error"), [("inference hung", InferenceHung), ("device lost", DeviceLost)])
def test_what_shows_only_as_all_is_taken_apart_is_an_event_too(
    tmp_path: Path, name: str, error: type[Exception]
) -> None:
    parts, kept = Parts(tmp_path), list[RunRecord]()

    def beside(session: app.Session, over: threading.Event) -> None:
        session.loop.close("Ctrl-C")
        over.wait()
        if error is DeviceLost:
            session.link.lost = "it is gone"
        else:
            session.inference.hung = "it is gone"

    given = {"policy": parts.policy, "cameras": parts.cameras, "buses": [parts.bus], "beside": beside}
    with pytest.raises(error, match=r"^it is gone"):
        app.run_robot(parts.robot, rescue=kept.append, **given)
    (record,) = kept
    assert (record.events[-1].name, record.events[-1].cause) == (name, "it is gone")
    assert [event.name for event in record.events].count(name) == 1
    assert report.verdict(report.summary(record))[0] == "bad"


def test_what_went_wrong_before_is_told_first_where_it_says_anything() -> None:
    session: Any = SimpleNamespace(link=SimpleNamespace(lost="it is gone"))
    assert str(app._worst(session, OSError("disk full"))) == "disk full; it is gone"
    assert str(app._worst(session, KeyboardInterrupt())) == "it is gone"


def test_events_are_taken_in_one_go(tmp_path: Path) -> None:
    """A thread adds to them while a report is made of a run that goes on: a loop over them would fail."""
    parts = Parts(tmp_path)
    taken: list[int] = []

    class Growing(deque[Event]):
        def __iter__(self) -> Iterator[Event]:
            taken.append(len(self))
            return super().__iter__()

    def beside(session: app.Session, over: threading.Event) -> None:
        session.kept = Growing(session.kept)
        session.record(session.clock.now_ns())
        session.loop.close("enough")
        assert len(taken) == 1
        over.wait()

    app.run_robot(parts.robot, policy=parts.policy, cameras=parts.cameras, buses=[parts.bus], beside=beside)
    assert taken
