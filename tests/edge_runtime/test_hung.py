"""An inference that hangs in its library for ever, in the process as a user starts it, beside the simulated arm."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from drivers.sim.process import SimProcess
from edge_runtime.black_box import read
from tests.edge_runtime.process import Process

HUNG_MS = 3_000
SEEN = f"limit {HUNG_MS} ms: it hangs, so the process ends: see what dmesg says of its device; "
REMEDY = "a policy that is only slow needs a longer deadlines.hung_ms"


@pytest.fixture
def robot(sim: SimProcess) -> Iterator[Process]:
    """At its task, with a gripper that lets go when it is to be safe, and then its device goes."""
    file = sim.directory / "robot.toml"
    (sim.directory / "arm.urdf").write_bytes(resources.files("drivers.sim").joinpath("arm.urdf").read_bytes())
    text = file.read_text().replace('name = "gripper"\n', 'name = "gripper"\nsafe = "release"\n')
    file.write_text(text.replace("[deadlines]\n", f"[deadlines]\ncoast_ms = 300\nhung_ms = {HUNG_MS}\n"))
    command = ("run", str(file), "--report", str(sim.directory / "report"))
    made = Process(sim.directory, *command, program="tests.edge_runtime.run_hung")
    made.start_task()
    (sim.directory / "hang").touch()
    yield made
    made.kill()


def errors(robot: Process) -> list[str]:
    """What it says to a person who has to mend it."""
    return [line for line in robot.errors.splitlines() if line.startswith("edge: ")]


HELD = [True] * 5 + [False]
"""Torque of the motors after their safe actions."""


def test_an_inference_that_never_ends_ends_the_process(sim: SimProcess, robot: Process) -> None:
    robot.until("HOLD")
    assert robot.wait() == 2
    (line,) = errors(robot)
    assert line.startswith("edge: inference in flight for 30")
    assert line.endswith(SEEN + REMEDY)
    assert sim.ask(cmd="state")["torque_on"] == HELD
    report = json.loads((sim.directory / "report" / "report.json").read_text())
    assert report["counters"]["inference hung"] == 1
    names = [event["name"] for event in report["events"]]
    assert names.index("HOLD") < names.index("inference hung") < names.index("SAFE")
    assert [one.trigger.state for one in boxes(sim.directory)] == ["HOLD", "SAFE"]


def test_asked_to_end_meanwhile_it_does_not_wait_for_ever_either(sim: SimProcess, robot: Process) -> None:
    robot.until("HOLD")
    robot.process.send_signal(signal.SIGTERM)
    assert robot.wait() == 2
    assert errors(robot) == [f"edge: inference still in flight at the end of the run, {SEEN}{REMEDY}"]
    assert sim.ask(cmd="state")["torque_on"] == HELD


def boxes(folder: Path) -> list[read.Incident]:
    """The black boxes: their own process ends after the run's."""
    end = time.monotonic() + 10.0
    while len(found := sorted((folder / "black-box").glob("*.mcap"))) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    return [read.read(path) for path in found]
