"""The report of a black box: why, how it came to that, and a page that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_runtime import cli, report_files
from edge_runtime.black_box import report
from edge_runtime.black_box.incident import Incident
from edge_runtime.record import Event
from edge_runtime.report import summary
from edge_runtime.report_text import NARROW_SPACE
from tests.edge_runtime.black_box.incidents import AT_NS, incident
from tests.edge_runtime.black_box.test_file import WHOLE, file_of


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


def test_what_began_with_hold_and_led_to_safe_says_both() -> None:
    one = incident()
    one.events.append(Event(AT_NS + 65_000_000, "SAFE", "no motor answered"))
    with_trigger(one, state="SAFE")
    found = report.summary(one)
    assert (found["state"], found["began"]) == ("SAFE", "HOLD")
    assert report.text(found).startswith("HOLD → SAFE on 2023-11-14T23:36:43.000+00:00: newest frame")
    page = report.page(one, found)
    assert "<h1>HOLD → SAFE: newest frame" in page
    assert "0 s is when it began, with HOLD." in page


def with_trigger(one: Incident, **changes: object) -> None:
    one.trigger = msgspec.structs.replace(one.trigger, **changes)


def with_header(one: Incident, **changes: object) -> None:
    one.header = msgspec.structs.replace(one.header, **changes)


def nested(depth: int) -> dict[str, object]:
    inner: dict[str, object] = {}
    for _ in range(depth):
        inner = {"a": inner}
    return inner


HOSTILE: dict[str, Callable[[Incident], object]] = {
    "an incident before every year": lambda one: with_trigger(one, t_ns=-(10**20)),
    "an incident after every year": lambda one: with_trigger(one, t_ns=2**63 - 1),
    "a rate of next to nothing": lambda one: with_header(one, rate_hz=1e-300),
    "a rate of too much": lambda one: with_header(one, rate_hz=1001.0),
    "a machine without end": lambda one: with_header(one, machine=nested(200)),
    "a time without end": lambda one: setattr(one, "lateness_ns", np.full_like(one.lateness_ns, 10**17)),
    "an angle without end": lambda one: setattr(one, "measured_rad", np.full_like(one.measured_rad, 1e308)),
    "an angle at infinity": lambda one: setattr(one, "setpoint_rad", np.full_like(one.setpoint_rad, np.inf)),
    "all ticks at once": lambda one: setattr(one, "t_ns", np.full_like(one.t_ns, one.t_ns[0])),
    "an event in another year": lambda one: one.events.append(Event(AT_NS + 10**17, "HOLD", "x")),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", HOSTILE)
def test_figures_that_are_no_robots_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    one = incident()
    HOSTILE[what](one)
    file = tmp_path / "a.mcap"
    file.write_bytes(file_of(one))
    assert cli.main(["report", str(file), "--report", str(tmp_path / "page")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"edge: {file}: is no black box of this version, or a damaged one: ")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "page").exists()


EVIL = "\x1b[2J\x1b]0;own\x07\r\nHOLD on never: forged\u202e\x9b1m"


def test_a_terminal_is_shown_nothing_that_it_obeys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever text of the file: on the terminal, as JSON, on the page."""
    one = incident()
    with_trigger(one, state=f"HOLD{EVIL}", cause=EVIL)
    with_header(
        one,
        robot=EVIL,
        joints=tuple(f"{EVIL}{k}" for k in range(3)),
        states=tuple(f"{state}{EVIL}" for state in one.header.states),
        cameras=(f"base{EVIL}", "wrist"),
        buses=(EVIL,),
        seal=EVIL,
        machine={EVIL: [EVIL, {"deep": EVIL}]},
    )
    one.events.append(Event(AT_NS, EVIL, f"{EVIL} " * 5000))
    file, page = tmp_path / "a.mcap", tmp_path / "page"
    file.write_bytes(file_of(one))
    assert cli.main(["report", str(file), "--report", str(page), "--json", str(tmp_path / "a.json")]) == 0
    said = capsys.readouterr()
    written = [path.read_text() for path in (tmp_path / "a.json", page / "report.json", page / "report.html")]
    for text in (said.out, said.err, *written):
        assert [line for line in text.splitlines() if not line.replace(NARROW_SPACE, " ").isprintable()] == []
    assert [line for line in said.out.splitlines() if line.startswith("HOLD on never")] == []
    assert len(said.out) < 20_000


def test_the_name_of_a_damaged_file_is_shown_as_harmlessly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a\x07\u202e.mcap"
    file.write_bytes(WHOLE[:-40])
    assert cli.main(["report", str(file)]) == 2
    assert capsys.readouterr().err.removesuffix("\n").isprintable()


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
