"""The report of a black box: why, how it came to that, and a page that needs nothing else."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import cli, report_files
from edge_runtime.black_box import report
from edge_runtime.report import summary
from tests.edge_runtime.black_box.incidents import incident
from tests.edge_runtime.black_box.test_file import WHOLE


def test_the_record_of_an_incident() -> None:
    one = incident()
    one.lateness_ns[20] = 41_000_000  # two periods of 20 ms and a little
    found = summary(report.record(one))
    assert found["control"]["ticks"] == 175
    assert found["control"]["missed"] == 2
    assert found["states"]["RUN"] == pytest.approx(3.0)
    assert found["states"]["HOLD"] == pytest.approx(0.5)
    assert found["faults"]["holds"] == 1
    assert found["chunks"] == 1


def test_what_is_told_first() -> None:
    found = report.summary(incident())
    assert found["utc"] == "2023-11-14T23:36:43.000+00:00"
    assert found["t_s"] == 3.0
    assert found["frames"] == {"base": 6, "wrist": 0}
    assert found["frames_s"] == {"base": 2.5, "wrist": None}
    assert found["bus_bytes"] == {"arm": 7}
    assert [(event["t_s"], event["name"]) for event in found["before"]] == [(-2.0, "RUN (task)"), (0.0, "HOLD")]
    lines = report.text(found).splitlines()
    assert lines[0] == (
        "HOLD on 2023-11-14T23:36:43.000+00:00: newest frame of camera <wrist> is 214 ms old, limit 200 ms"
    )
    assert lines[2] == "     -2.000 s  RUN (task)       begin"


class Page(HTMLParser):
    """Tags in order, and what is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.pictures: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href") and value and not value.startswith("data:"):
                self.loads.append(value)
            if name == "alt" and value:
                self.pictures.append(value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_says_why_and_shows_what_was_seen(tmp_path: Path) -> None:
    one = incident()
    found = report.summary(one)
    written = report_files.write(report.record(one), tmp_path, front=report.page(one, found))
    page = Page()
    page.feed(written.html_file.read_text())
    assert (page.open, page.loads) == ([], [])
    assert "HOLD: newest frame of camera <wrist> is 214 ms old, limit 200 ms" in page.words
    assert "The 10 s before" in page.words
    assert "Every tick on time" not in page.words, "the incident stands in the place of the verdict"
    assert page.pictures == [
        *("-2 s, 0.00 ms old", "-1 s, 0.00 ms old", "-0.5 s, 0.00 ms old", "+0 s, 0.00 ms old"),
        "+0.5 s, 500 ms old",
    ]


def test_pictures_that_are_none_are_not_shown() -> None:
    one = incident()
    one.frames["base"] = [type(f)(f.t_ns, b"<script>") for f in one.frames["base"]]
    assert "<img" not in report.page(one, report.summary(one))


def test_an_incident_before_the_first_tick_has_a_page(tmp_path: Path) -> None:
    one, nothing = incident(), np.zeros(0, np.int64)
    one.t_ns = one.lateness_ns = one.tick_ns = one.serial_ns = one.sensor_age_ns = one.sent_ns = one.cpu_ns = nothing
    one.state, one.setpoint_rad, one.measured_rad = np.zeros(0, np.int8), np.zeros((0, 3)), np.zeros((0, 3))
    found = report.summary(one)
    written = report_files.write(report.record(one), tmp_path, front=report.page(one, found))
    assert written.report["control"]["ticks"] == 0


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.mcap"
    file.write_bytes(WHOLE)
    assert cli.main(["report", str(file), "--report", str(tmp_path / "page"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["incident"]["state"] == "HOLD"
    assert json.loads((tmp_path / "page" / "report.json").read_text())["incident"]["state"] == "HOLD"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory"),
        (b"a text", "is no black box of this version, or a damaged one: it is no MCAP file"),
        (WHOLE[:40], "is no black box of this version, or a damaged one: it ends too early"),
    ],
)
def test_what_is_none_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, says: str
) -> None:
    file = tmp_path / "a.mcap"
    if content is not None:
        file.write_bytes(content)
    assert cli.main(["report", str(file), "--report", str(tmp_path / "page")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"edge: {file}: ")
    assert says in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "page").exists()
