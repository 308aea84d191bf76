"""A device that hangs for ever or is lost, in the process as a user starts it, beside the simulated arm."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import pytest

from drivers.sim.process import SimProcess
from edge_runtime.black_box import read
from tests.edge_runtime.process import Process

HUNG_MS = 3_000
SEEN = f"limit {HUNG_MS} ms: it hangs, so the process ends: see what dmesg says of its device; "
REMEDY = "a policy that is only slow needs a longer deadlines.hung_ms"


LOST = "edge: step: failed while it ran: CUDA_ERROR_ILLEGAL_ADDRESS"


@pytest.fixture
def started(sim: SimProcess) -> Iterator[Callable[..., Process]]:
    """Starts it, with files in its folder that are there already: with a gripper that lets go when it is to be safe."""
    file = sim.directory / "robot.toml"
    (sim.directory / "arm.urdf").write_bytes(resources.files("drivers.sim").joinpath("arm.urdf").read_bytes())
    text = file.read_text().replace('name = "gripper"\n', 'name = "gripper"\nsafe = "release"\n')
    file.write_text(text.replace("[deadlines]\n", f"[deadlines]\ncoast_ms = 300\nhung_ms = {HUNG_MS}\n"))
    command = ("run", str(file), "--report", str(sim.directory / "report"))
    made: list[Process] = []

    def start(*faults: str) -> Process:
        for fault in faults:
            (sim.directory / fault).touch()
        made.append(Process(sim.directory, *command, program="tests.edge_runtime.run_hung"))
        return made[-1]

    yield start
    for each in made:
        each.kill()


@pytest.fixture
def robot(sim: SimProcess, started: Callable[..., Process]) -> Process:
    """At its task, and then its device hangs."""
    made = started()
    made.start_task()
    (sim.directory / "hang").touch()
    return made


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


def test_interrupted_as_it_waits_for_that_it_ends_all_the_same(sim: SimProcess, robot: Process) -> None:
    robot.until("HOLD")
    for _ in range(2):  # the second as all is taken apart
        robot.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    assert robot.wait() in (2, 130), robot.errors  # 2 where the deadline came first
    assert sim.ask(cmd="state")["torque_on"] == HELD


def test_a_device_that_is_lost_ends_the_process(sim: SimProcess, started: Callable[..., Process]) -> None:
    robot = started()
    robot.start_task()
    (sim.directory / "lose").touch()
    assert robot.wait() == 2
    assert errors(robot) == [LOST]
    assert sim.ask(cmd="state")["torque_on"] == HELD
    report = json.loads((sim.directory / "report" / "report.json").read_text())
    assert (report["counters"]["device lost"], report["counters"]["inferences failed"]) == (1, 1)
    names = [event["name"] for event in report["events"]]
    assert names.index("device lost") < names.index("HOLD (task)") < names.index("SAFE")
    assert [one.trigger.state for one in boxes(sim.directory, 1)] == ["SAFE"]


def test_a_device_that_is_lost_before_the_robot_is_ready(sim: SimProcess, started: Callable[..., Process]) -> None:
    robot = started("lose")
    assert robot.wait() == 2
    assert errors(robot) == [LOST]
    assert not any(sim.ask(cmd="state")["torque_on"])


def test_a_policy_that_hangs_while_it_is_opened_hears_ctrl_c(sim: SimProcess, started: Callable[..., Process]) -> None:
    robot, end = started("hang-open"), time.monotonic() + 20.0
    while not (sim.directory / "opening").exists() and time.monotonic() < end:
        time.sleep(0.02)
    robot.process.send_signal(signal.SIGINT)
    assert robot.wait() == 130
    assert errors(robot) == ["edge: interrupted"]
    assert not (sim.directory / "control.sock").exists()


def boxes(folder: Path, count: int = 2) -> list[read.Incident]:
    """The black boxes: their own process ends after the run's."""
    end = time.monotonic() + 10.0
    while len(found := sorted((folder / "black-box").glob("*.mcap"))) < count and time.monotonic() < end:
        time.sleep(0.05)
    return [read.read(path) for path in found]
