"""The real process against the simulated robot: an arm that is told into the table stops and pushes on no more."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from drivers.sim.process import SimProcess
from tests.edge_runtime.process import Process

INTO_THE_TABLE = ("start = -0.13", "start = 1.5")
"""Of the shoulder's lift: half a radian further down than the table lets it."""
NEAR_RAD = 0.02


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[SimProcess]:
    text = resources.files("drivers.sim").joinpath("robot.toml").read_text()
    assert INTO_THE_TABLE[0] in text
    (tmp_path / "robot.toml").write_text(text.replace(*INTO_THE_TABLE))
    with SimProcess(tmp_path, seed=3) as made:
        yield made


def test_an_arm_that_never_arrives_says_why_and_lets_off(sim: SimProcess) -> None:
    robot = Process(sim.directory)
    try:
        robot.until("DISARMED")
        robot.say("arm")
        status = robot.until("HOLD")
        assert status["cause"].startswith("joint shoulder_lift: ")
        assert status["cause"].endswith(" ms, limit 0.25 rad")
        time.sleep(0.5)
        status = robot.say("status")
        lift = status["joints"]["shoulder_lift"]
        assert abs(lift["setpoint_rad"] - lift["measured_rad"]) < NEAR_RAD
        assert lift["measured_rad"] < 1.2
        assert sum(count for name, count in status["counters"].items() if name.endswith(" shoulder_lift")) >= 1
        robot.process.send_signal(signal.SIGTERM)
        assert robot.wait() == 0, robot.errors
    finally:
        robot.kill()
