"""What a run leaves behind where its process must end."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from edge_runtime import app, report
from edge_runtime.errors import DeviceLost, InferenceHung
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
    with pytest.raises(error, match="it is gone"):
        app.run_robot(parts.robot, rescue=kept.append, **given)
    (record,) = kept
    assert (record.events[-1].name, record.events[-1].cause) == (name, "it is gone")
    assert [event.name for event in record.events].count(name) == 1
    assert report.verdict(report.summary(record))[0] == "bad"
