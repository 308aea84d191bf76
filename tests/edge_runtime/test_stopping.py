"""What is known before anything moves: each joint's longest stop, and when the arm rests once something is silent."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from edge_runtime import cli, config_check
from edge_runtime.config import Robot
from edge_runtime.stopping import longest_stops, rest_after_s, words
from tests.edge_runtime.stops import quickest_stop
from tests.edge_runtime.test_config import LEADER, PAD, write
from tests.robot_toml import NAMES, ROBOT


def robot(text: str = ROBOT) -> Robot:
    return config_check.parse(text.encode(), Path("/robot"))


def test_a_stop_for_each_joint_by_its_own_limits_in_radians() -> None:
    """From 1.5 rad/s and 10 rad/s²: 2 rad/s is left once that is taken away. One joint has the same in degrees."""
    found = longest_stops(robot(ROBOT.replace("id = 3\n", 'id = 3\nunits = "deg"\n')))
    assert [stop.joint for stop in found] == list(NAMES)
    stop = quickest_stop(1.5, 10.0, 10.0, 100.0)
    assert (found[0].way_rad, found[0].duration_s) == pytest.approx((stop.end, stop.duration), rel=1e-6)
    assert (found[2].way_rad, found[2].duration_s) == pytest.approx((math.radians(stop.end), stop.duration), rel=1e-6)


def test_silence_ends_at_rest_after_its_deadline_coasting_and_the_longest_stop() -> None:
    longest = max(stop.duration_s for stop in longest_stops(robot()))
    ticks = 4 * 0.01
    assert rest_after_s(robot()) == pytest.approx({"frame": 1.2 + ticks + longest, "chunk": 1.6 + ticks + longest})
    for hand in (LEADER, PAD):
        assert rest_after_s(robot(ROBOT + hand))["hand"] == pytest.approx(0.2 + ticks + longest)


def test_in_words_ways_and_times_are_rounded_up() -> None:
    lines = words(robot()).splitlines()
    stop = longest_stops(robot())[0]
    assert (stop.way_rad, stop.duration_s) == pytest.approx((0.48333, 0.4), abs=1e-4)
    assert lines[1] == "shoulder_pan     0.484 rad (27.7°) in 0.40 s"
    assert lines[-1].startswith("policy           2.04 s of the frame behind the last chunk: chunk_age_ms, coast_ms")


def test_the_check_of_a_robot_prints_its_stops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, file = write(tmp_path, ROBOT), tmp_path / "found.json"
    assert cli.main(["config", "--check", str(path), "--json", str(file)]) == 0
    assert f"\n{words(robot())}\n" in capsys.readouterr().out
    found = json.loads(file.read_text())
    assert [stop["joint"] for stop in found["stops"]] == list(NAMES)
    assert set(found["rest_after_s"]) == {"frame", "chunk"}
