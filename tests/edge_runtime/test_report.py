"""The report: the keys that programs read, figures that were measured, and a page that needs nothing else."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import report, report_files, report_html, report_text
from edge_runtime.floor import Floor
from edge_runtime.record import Event
from edge_runtime.report_svg import Panel, envelope, nice_ticks, with_gaps
from tests.edge_runtime.sample_record import JOINTS, empty_record, record

FLOOR = Floor(np.array([0] * 20 + [100] * 40), beyond=2, max_us=25_000)


def test_the_keys_that_later_checks_read() -> None:
    found = json.loads(json.dumps(report.summary(record())))
    assert set(found["control"]) >= {"rate_hz", "ticks", "missed", "lateness_us"}
    assert set(found["control"]["lateness_us"]) == {"p50", "p99", "p99_9", "max"}
    assert set(found["sensor_to_motor_ms"]) == {"p50", "p99", "p99_9", "max"}
    assert set(found["inference_ms"]) == {"p50", "p99", "p99_9", "max"}
    assert found["chunks"] == 189
    assert found["states"]["RUN"] == pytest.approx(16.37)
    assert found["events"][2] == {"t_s": 12.4, "name": "COAST", "cause": "frame base 214 ms old"}
    assert found["task"] == {"episodes": 3, "successes": 3, "cut_off": 0}
    assert found["machine"]["cpu"] == "2 × a processor"
    assert "floor_us" not in found


def test_a_floor_adds_itself_and_the_ratios() -> None:
    found = report.summary(record(), FLOOR)
    assert found["floor_us"] == {"p50": 40.0, "p99": 59.0, "p99_9": 59.0, "max": 25_000.0}
    late = found["control"]["lateness_us"]["p99"]
    assert found["lateness_over_floor"]["p99"] == pytest.approx(late / 59.0, abs=0.01)


def test_percentiles_are_measured_values() -> None:
    found = report.quantiles(np.array([1000, 2000, 3000, 90_000]), 1e3)
    assert found == {"p50": 3.0, "p99": 90.0, "p99_9": 90.0, "max": 90.0}


def test_what_was_not_measured_is_null() -> None:
    found = report.summary(empty_record(), FLOOR)
    assert set(found["control"]["lateness_us"].values()) == {None}
    assert set(found["sensor_to_motor_ms"].values()) == {None}
    assert set(found["lateness_over_floor"].values()) == {None}
    assert found["tracking_mrad"]["gripper"] == {"rms": None, "max": None}


def test_ticks_without_a_chunk_have_no_sensor_age() -> None:
    run = record()
    run.sensor_age_ns[:] = -1
    run.sensor_age_ns[7] = 42_000_000
    assert report.summary(run)["sensor_to_motor_ms"] == {"p50": 42.0, "p99": 42.0, "p99_9": 42.0, "max": 42.0}


def test_tracking_counts_only_while_moving() -> None:
    run = record()
    run.measured_rad[:] = run.setpoint_rad
    run.measured_rad[run.state == 2, 0] += 0.002
    run.measured_rad[run.state == 1, 0] += 5.0
    assert report.summary(run)["tracking_mrad"]["shoulder_pan"]["max"] == 2.0


def test_tracking_is_in_milliradians() -> None:
    setpoint = np.array([0.0, 0.1, np.nan])
    assert report.tracking(setpoint, np.array([0.003, 0.096, 5.0])) == {"rms": 3.54, "max": 4.0}


@pytest.mark.parametrize(
    ("missed", "faults", "level", "says"),
    [
        (0, {}, "good", "Every tick on time, 2000 ticks at 100 Hz, 3 of 3 tasks done"),
        (1, {}, "warn", "1 of 2000 slots missed (0.05%), 1999 ticks at 100 Hz, 3 of 3 tasks done"),
        (20, {}, "bad", "20 of 2000 slots missed (1.00%), 1980 ticks at 100 Hz, 3 of 3 tasks done"),
        (0, {"safe_s": 2.5}, "bad", "Every tick on time, 2000 ticks at 100 Hz, 3 of 3 tasks done, SAFE for 2.5 s"),
        (0, {"holds": 1}, "bad", "Every tick on time, 2000 ticks at 100 Hz, 3 of 3 tasks done, a fault led to HOLD"),
    ],
)
def test_the_verdict(missed: int, faults: dict[str, float], level: str, says: str) -> None:
    found = report.summary(record(skip=missed))
    found["faults"] |= faults
    assert report.verdict(found) == (level, says)


@pytest.mark.parametrize(
    ("name", "says"), [("inference hung", "an inference that hangs"), ("device lost", "the loss of the GPU")]
)
def test_what_ends_the_process_is_bad_in_whatever_state(name: str, says: str) -> None:
    run = record(skip=0)
    run.events.append(Event(run.ended_ns, name, "in flight for 10001.0 ms"))
    words = f"Every tick on time, 2000 ticks at 100 Hz, 3 of 3 tasks done, ended by {says}"
    assert report.verdict(report.summary(run)) == ("bad", words)


@pytest.mark.parametrize(
    ("episodes", "says"), [(3, ", 2 of 2 tasks done, a task cut off by the end"), (1, ", a task cut off by the end")]
)
def test_a_task_that_the_end_of_the_run_stopped_is_told_apart(episodes: int, says: str) -> None:
    run = record(skip=0)
    run.episodes, run.successes = episodes, episodes - 1
    run.events += [
        Event(run.ended_ns, name, cause)
        for name, cause in (("HOLD (task)", "command stop"), ("HOLD (task)", "it is over"), ("SAFE", "it is over"))
    ]
    found = report.summary(run)
    assert found["task"] == {"episodes": episodes, "successes": episodes - 1, "cut_off": 1}
    assert report.verdict(found) == ("good", f"Every tick on time, 2000 ticks at 100 Hz{says}")
    assert ("tasks done" in report_html.page(run, found)) is (episodes > 1)


def test_safe_counts_only_while_the_loop_ran() -> None:
    """Every armed run ends in SAFE: that is no fault. One that was SAFE while it ticked is."""
    run = record(skip=0)
    run.ended_ns += 700_000_000
    run.state_seconds["SAFE"] = 0.7
    assert report.summary(run)["faults"] == {"holds": 0, "safe_s": 0.0}
    run.state_seconds["SAFE"] = 3.7
    assert report.summary(run)["faults"]["safe_s"] == pytest.approx(2.98)


def test_a_run_without_ticks_is_not_good() -> None:
    assert report.verdict(report.summary(empty_record())) == ("bad", "The control loop never ran")


def test_the_text_has_every_row_and_reads_when_piped() -> None:
    lines = report_text.text(report.summary(record(), FLOOR)).splitlines()
    assert lines[0].startswith("3 of 2000 slots missed")
    figure = r" +[\d.\u202f]+"
    assert any(re.match(rf"wake-up lateness, µs({figure}){{4}}$", line) for line in lines)
    assert any(re.match(r" +times its floor +[\d.]+ ", line) for line in lines)
    assert all("\x1b" not in line and line == line.rstrip() for line in lines)


def test_repeated_events_are_one_line_of_the_text() -> None:
    run = record()
    miss = Event(run.started_ns + 15_000_000_000, "serial miss", "no answer from " + "a joint, " * 40)
    run.events[3:3] = [miss] * 57
    lines = report_text.text(report.summary(run)).splitlines()
    (told,) = [line for line in lines if "serial miss" in line]
    assert told.endswith("… (and 56 more)")
    assert len(told) < 160


def test_the_text_of_an_empty_run_has_dashes() -> None:
    assert "–" in report_text.text(report.summary(empty_record()))


class _Page(HTMLParser):
    """Collects every tag that is opened and whether each is closed."""

    VOID = ("meta", "br", "link", "img", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("which", ["run", "floor", "empty", "one tick"])
def test_the_page_is_whole_and_loads_nothing(which: str) -> None:
    run = empty_record() if which == "empty" else record(0.01 if which == "one tick" else 5.0, skip=0)
    floor = FLOOR if which == "floor" else None
    html = report_html.page(run, report.summary(run, floor), floor)
    parsed = _Page()
    parsed.feed(html)
    assert parsed.open == []
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    assert not re.search(r"https?:|url\(|@import|src=|href=", html)
    assert not re.search(r"[^a-zA-Z](nan|inf)[^a-zA-Z]", html.lower())
    assert ('class="floor"' in html) == (floor is not None)


def test_the_page_names_every_joint_event_and_state() -> None:
    run = record()
    html = report_html.page(run, report.summary(run))
    for words in (*JOINTS, "frame base 214 ms old", "COAST", "realtime.mlockall"):
        assert words in html
    assert "done &lt;success signal&gt;" in html
    assert "done <success" not in html


@pytest.mark.parametrize("skip", [0, 3])
def test_a_bar_for_each_skipped_slot_and_none_for_a_late_tick(skip: int) -> None:
    run = record(skip=skip)
    run.lateness_ns[500] += 9_000_000  # of 10 ms
    run.t_ns[500] += 9_000_000
    assert report_html.page(run, report.summary(run)).count('class="miss"') == skip


def test_a_long_run_stays_a_small_page() -> None:
    run = record(seconds=1800.0)
    assert run.t_ns.size > 170_000
    assert len(report_html.page(run, report.summary(run))) < 1_500_000


def test_an_envelope_keeps_a_single_late_tick_and_gaps() -> None:
    x = np.linspace(0.0, 10.0, 100_000)
    y = np.zeros(x.size)
    y[12_345] = 7.0
    y[50_000:60_000] = np.nan
    xs, ys = envelope(x, y, 300)
    assert xs.size <= 600
    assert np.nanmax(ys) == 7.0
    assert np.isnan(ys[(xs > 5.1) & (xs < 5.9)]).all()
    assert np.isfinite(ys[(xs < 4.9) | (xs > 6.1)]).all()


def test_a_skipped_slot_is_a_gap_and_a_lone_value_a_dot() -> None:
    x, y = with_gaps(np.array([0.0, 1.0, 4.0, 7.0, 8.0]), np.arange(5.0), np.array([1, 2]))
    assert np.isnan(y).tolist() == [False, False, True, False, True, False, False]
    panel = Panel(0, 0, 80, 10, (0.0, 8.0), (0.0, 4.0))
    panel.trace(x, y, "thin")
    (mark,) = panel.marks
    assert mark.count("M") == 3
    assert "M40.0 5.0h0M" in mark


def test_ticks_are_round_numbers() -> None:
    assert nice_ticks(0.0, 60.0, 6) == [0, 10, 20, 30, 40, 50, 60]
    assert nice_ticks(-1.3, 1.1, 4) == [-1, 0, 1]
    assert nice_ticks(2.0, 2.0, 4) == [2.0]


def test_both_files_are_written_whole(tmp_path: Path) -> None:
    written = report_files.write(record(), tmp_path / "deep", FLOOR, {"success_rate": 0.93})
    found = json.loads(written.json_file.read_text())
    assert found == written.report
    assert (found["robot"], found["success_rate"]) == ("bench arm", 0.93)
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["report.html", "report.json"]
